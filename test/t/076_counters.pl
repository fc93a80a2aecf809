# 076_counters.pl
#	  A counter over links: what each of three nodes adds, offline, while servers crash and
#	  answers are lost, is added once; also where a spoke or the hub goes back in time,
#	  or a copy takes a spoke's place.
#
# What was added is counted here, sale by sale, and compared with what each node has.
# COUNTER_SEED repeats the dice.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use LinkPair;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{COUNTER_SEED} // int(time * 1000) % 1_000_000_000;
srand($seed);
diag("COUNTER_SEED=$seed");

my $hub = make_hub('hub', [ 'Shop', 'Till' ]);
my $shop = make_spoke('shop', $hub, 'Shop');
my $till = make_spoke('till', $hub, 'Till');
sql($_, 'ALTER TABLE customer ADD stock int') for $shop, $till;

my $rule = q(SELECT sync_rule('customer', 'stock', 'sum'));
sql($hub, $rule);
like(exchange_error($shop), qr/other fields of entity "customer" have rule sum here than at the hub/, 'both sides have to have the rule');
sql($_, $rule) for $shop, $till;

my $sold = 0;					# document ids
my %sum;						# what each counter should be

sub sell
{
	my ($node, $id, $n) = @_;
	sql($node, "UPDATE customer SET stock = stock - $n WHERE id = '$id'");
	$sum{$id} -= $n;
}

sub office_sells
{
	my ($id, $n) = @_;
	$sold++;
	sql($hub, "SELECT sync_apply('{\"source\": \"Office\", \"entity\": \"customer\", \"externalId\": \"$id\", \"changeId\": \"o$sold\", \"increments\": {\"stock\": -$n}}')");
	$sum{$id} -= $n;
}

sub all_have
{
	my ($what) = @_;
	my $expected = join("\n", map { "$_|$sum{$_}" } sort keys %sum);

	ok(settle($shop, $till), "$what: the links come to rest");
	is(sql($hub, "SELECT external_id, fields->'stock' FROM syncext.canonical WHERE entity = 'customer' ORDER BY 1"), $expected, "$what: the hub has the sum");
	is(sql($_, 'SELECT id, stock FROM customer ORDER BY id COLLATE "C"'), $expected, "$what: so has " . $_->name) for $shop, $till;
}

# ---------- two branches ----------

sql($shop, "INSERT INTO customer VALUES ('a', 'pen', '', 10), ('b', 'ink', '', 100), ('c', 'cap', '', 100)");
%sum = (a => 10, b => 100, c => 100);
all_have('at first');
sell($shop, 'a', 3);
sell($till, 'a', 3);
all_have('two branches that each sell 3 of 10');
is($sum{a}, 4, 'that is 4');
sell($shop, 'a', 1) for 1 .. 3;
sell($till, 'a', -2);
office_sells('a', 1);
sql($shop, "UPDATE customer SET name = 'Pen' WHERE id = 'a'");
all_have('several edits, and of another field');

# ---------- crashes ----------

for my $round (1 .. 12)
{
	for (1 .. 1 + int(rand(4)))
	{
		my $id = (sort keys %sum)[ rand(keys %sum) ];
		my $who = int(rand(3));

		$who == 2 ? office_sells($id, 1 + int(rand(5))) : sell(($shop, $till)[$who], $id, int(rand(9)) - 3);
	}
	my $node = ($shop, $till)[ rand(2) ];
	my $exchange = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('shop'), '-c', "CALL sync_exchange('up')" ], '>', \my $out, '2>', \my $err);

	# somewhere in the exchange
	select(undef, undef, undef, rand(0.2));
	my $dies = ($hub, $node, $node)[ rand(3) ];
	$dies->stop('immediate');
	$exchange->finish;
	$dies->start;
}
all_have('crashes');

# ---------- a spoke goes back in time ----------

sell($shop, 'b', 5);
$shop->backup('pending');
sell($shop, 'b', 7);
all_have('before the shop is restored');
restore_in_place($shop, 'pending');
# what it had sold and sent is known; this is not
sell($shop, 'b', 11);
all_have('the shop is restored');
sell($shop, 'b', 1);
sell($till, 'b', 1);
all_have('and goes on');

# ---------- the hub goes back in time ----------

$hub->backup('files');
sell($shop, 'c', 2);
sell($till, 'c', 4);
all_have('before the hub is restored');
sell($shop, 'c', 8);
restore_in_place($hub, 'files');
all_have('the hub is restored');

$hub->backup('again');
sell($shop, 'c', 2);
sell($till, 'c', 4);
all_have('before the hub is restored again');
sell($till, 'c', 16);
restore_in_place($hub, 'again');
# it has gone on alone
office_sells('c', 32);
office_sells('a', 32);
all_have('the hub is restored, and went on');
sell($_, 'c', 1) for $shop, $till;
all_have('and all go on');

# ---------- the hub erases the record of rows that are still there ----------

for my $round (1 .. 2)
{
	sql($hub, q(SELECT sync_forget('customer', 'c')));
	sell($shop, 'c', 3);
	all_have("a record was erased, one branch sells, $round");
	sell($till, 'c', 5);
	all_have("the other one, $round");
	sql($hub, q(SELECT sync_forget('customer', 'c')));
	sell($shop, 'c', 7);
	sell($till, 'c', 9);
	all_have("both, $round");
}
sql($hub, q(SELECT sync_forget('customer', 'c')));
sell($shop, 'c', 11);
sql($till, "UPDATE customer SET name = 'Cap' WHERE id = 'c'");
all_have('a branch edits another field meanwhile');
is(sql($_, q(SELECT name FROM customer WHERE id = 'c')), 'Cap', 'which ' . $_->name . ' has, too') for $shop, $till;

# ---------- another database of the same server, which goes on, takes a spoke's place ----------

# The one that is left sells some that the other one never hears of.
sub replaced
{
	my ($how, $make) = @_;

	sell($shop, 'b', 1);
	$make->();
	sell($shop, 'b', 7);
	all_have("before the shop is replaced by $how");
	$shop->safe_psql('postgres', 'ALTER DATABASE shop RENAME TO left_by_' . $how . '; ALTER DATABASE other RENAME TO shop');
	sell($shop, 'b', 2);
	like(exchange_error($shop), qr/another database is linked/, "$how: it is refused");
	sql($hub, q(SELECT syncext.release_spoke('Shop')));
	sell($shop, 'b', 4);
	all_have("the shop is replaced by $how");
	sell($shop, 'b', 3);
	sell($till, 'b', 1);
	all_have("$how, and goes on");
}

replaced('template', sub { $shop->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE shop') });
replaced('dump', sub {
	my $file = $shop->basedir . '/shop.dump';

	$shop->command_ok([ 'pg_dump', '-Fc', '-f', $file, '-d', $shop->connstr('shop') ], 'dumped');
	$shop->safe_psql('postgres', 'CREATE DATABASE other');
	$shop->command_ok([ 'pg_restore', '-d', $shop->connstr('other'), $file ], 'restored');
});

done_testing();
