# 077_counters_waiting.pl
#	  A row with increments that the hub has not answered shows the hub's value and its own:
#	  what others change of the record comes meanwhile, and everything adds once.
#
# The hub's record is held by a session there, so that pushes of it wait, while pulls go
# on.  COUNTER_SEED repeats the dice.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use LinkPair;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{COUNTER_SEED} // int(time * 1000) % 1_000_000_000;
srand($seed);
diag("COUNTER_SEED=$seed");

my $hub = make_hub('hub', [ 'Shop', 'Till' ]);
my $shop = make_spoke('shop', $hub, 'Shop');
my $till = make_spoke('till', $hub, 'Till');
for my $node ($shop, $till)
{
	sql($node, 'ALTER TABLE customer ADD stock int');
	# one edit a push, and one record a pull
	$node->append_conf('postgresql.conf', "syncext.link_batch = 1\n");
	$node->reload;
}
sql($_, q(SELECT sync_rule('customer', 'stock', 'sum'))) for $hub, $shop, $till;

my $told = 0;
my %sum;

sub sell
{
	my ($node, $id, $n) = @_;
	sql($node, "UPDATE customer SET stock = stock - $n WHERE id = '$id'");
	$sum{$id} -= $n;
}

sub office
{
	my ($id, $fields, $n) = @_;
	my $document = qq({"source": "Office", "entity": "customer", "externalId": "$id", "changeId": "o) . ++$told . q(");
	$document .= qq(, "base": 1000000, "fields": $fields) if defined $fields;
	$document .= qq(, "increments": {"stock": -$n}) if defined $n;
	sql($hub, "SELECT sync_apply('$document}')");
	$sum{$id} -= $n // 0;
}

sub all_have
{
	my ($what) = @_;
	my $expected = join("\n", map { "$_|$sum{$_}" } sort keys %sum);

	my $have = q(SELECT string_agg(id || '|' || stock, E'\n' ORDER BY id COLLATE "C") FROM customer);

	ok(settle($shop, $till), "$what: the links come to rest");
	# what was busy comes again when that is due
	for my $try (1 .. 20)
	{
		last if sql($shop, $have) eq $expected && sql($till, $have) eq $expected;
		select(undef, undef, undef, 0.2);
		settle($shop, $till);
	}
	is(sql($hub, "SELECT external_id, fields->'stock' FROM syncext.canonical WHERE entity = 'customer' AND NOT deleted ORDER BY 1"), $expected, "$what: the hub has the sum");
	is(sql($_, 'SELECT id, stock FROM customer ORDER BY id COLLATE "C"'), $expected, "$what: so has " . $_->name) for $shop, $till;
}

# Exchange in a session of its own, while the record is held at the hub; what is pulled
# meanwhile is waited for.
sub exchange_held
{
	my ($id, $name, $what) = @_;
	my $holder = Session->new($hub->connstr('shop'));
	$holder->query('BEGIN');
	$holder->query("SELECT FROM syncext.canonical WHERE entity = 'customer' AND external_id = '$id' FOR UPDATE");
	my $exchange = IPC::Run::start([ 'psql', '-XAtq', '-d', $shop->connstr('shop'), '-c', "CALL sync_exchange('up')" ], '>', \my $out, '2>', \my $err);

	my $came = 0;

	while (!($came = sql($shop, "SELECT name = '$name' FROM customer WHERE id = '$id'") eq 't') && $exchange->pumpable)
	{
		$exchange->pump_nb;
		select(undef, undef, undef, 0.1);
	}
	ok($came, "$what: what others changed comes") or diag($err);
	return ($holder, $exchange);
}

sub release
{
	my ($holder, $exchange) = @_;
	$holder->query('ROLLBACK');
	$holder->quit;
	$exchange->finish;
}

sub standing { return sql($shop, "SELECT stock FROM customer WHERE id = '$_[0]'") . '|' . sql($hub, "SELECT fields->'stock' FROM syncext.canonical WHERE external_id = '$_[0]'") }

sql($shop, "INSERT INTO customer SELECT id, id, '', 100 FROM unnest('{a,b,c,d,e,f,x,y,z}'::text[]) id");
%sum = map { $_ => 100 } qw(a b c d e f x y z);
all_have('at first');

# ---------- an increment that waits to be sent ----------

sql($shop, "UPDATE customer SET phone = '1' WHERE id = '$_'") for qw(x y z);
sell($shop, 'a', 3);
office('a', '{"name": "A1"}', 20);
my @held = exchange_held('a', 'A1', 'an increment that waits');
is(standing('a'), '77|80', 'the row shows what the hub has, and its own');
release(@held);
is(standing('a'), '77|77', 'and the hub adds it');
all_have('an increment that waited');

# ---------- one that is on its way; the spoke crashes before the answer ----------

sql($shop, "UPDATE customer SET phone = '2' WHERE id = 'x'");
sell($shop, 'a', 3);
office('a', '{"name": "A2"}', 10);
@held = exchange_held('a', 'A2', 'an increment on its way');
is(standing('a'), '64|67', 'the row shows what the hub has, and its own');
# the row is sold from on, and again after the crash, which is another run
sell($shop, 'a', 1);
$shop->stop('immediate');
$shop->start;
sell($shop, 'a', 1);
office('c', undef, 1);
release(@held);
is(sql($shop, q(SELECT stock FROM customer WHERE id = 'a')), 62, 'and what was sold since');
all_have('the spoke crashes');

# ---------- several deliveries, while nothing of it can be sent ----------

# first comes what is not the hub's record yet
sql($shop, "UPDATE customer SET phone = '3' WHERE id IN ('x', 'y', 'z')");
for my $n (1 .. 3)
{
	sell($shop, 'b', $n);
	office('b', qq({"name": "B$n"}), 10 * $n);
	sql($shop, "UPDATE customer SET phone = '3$n' WHERE id = 'x'") if $n < 3;
}
@held = exchange_held('b', 'B3', 'several increments');
is(standing('b'), '34|40', 'the row shows what the hub has, and all of its own');
sell($shop, 'b', 4);
$shop->stop('immediate');
release(@held);
$shop->start;
office('b', '{"name": "B4"}', 1);
sell($shop, 'b', 5);
all_have('several increments');

# an edit of another field keeps the row as it is, as ever, until it is answered
sql($shop, "UPDATE customer SET phone = '4' WHERE id = 'x'");
sql($shop, "UPDATE customer SET phone = 'mine', stock = stock - 1 WHERE id = 'c'");
$sum{c} -= 1;
office('c', '{"name": "C"}', 1);
# which was busy, and comes again when that is due
ok(exchange_until($shop, q(SELECT name = 'C' AND NOT EXISTS (SELECT FROM syncext.capture_failure) FROM customer WHERE id = 'c')), 'with an edit of another field: it comes');
all_have('with an edit of another field');
is(sql($_, q(SELECT name, phone FROM customer WHERE id = 'c')), 'C|mine', 'which is merged at ' . $_->name) for $shop, $till;

# what is taken back is no increment, and an increment may follow
sell($shop, 'c', 5);
sell($shop, 'c', -5);
office('c', '{"name": "C1"}', 1);
all_have('an increment that was taken back');

# ---------- a spoke that was restored sends what the hub knows ----------

# all records come again: there is enough to push until it is their turn
sql($shop, "UPDATE customer SET phone = '5' WHERE id <> 'd'");
sell($shop, 'd', 5);
$shop->backup('pending');
all_have('before the shop is restored');
restore_in_place($shop, 'pending');
sell($shop, 'd', 7);
office('d', '{"name": "D1"}', 1);
@held = exchange_held('d', 'D1', 'the shop is restored');
is(standing('d'), '87|94', 'the row shows what the hub has, and what that has not');
release(@held);
all_have('the shop is restored');

# what a new run takes back of what the hub knows is told it
sell($shop, 'd', 5);
$shop->backup('again');
all_have('before the shop is restored again');
restore_in_place($shop, 'again');
sell($shop, 'd', -5);
office('d', '{"name": "D2"}', 1);
all_have('the shop is restored, and takes back');

# ---------- whatever becomes of the fields beside it, and not to what is deleted ----------

my $name = q(SELECT name FROM customer WHERE id = 'e');

office('e', '{"name": "office"}', 1);
sql($shop, q(UPDATE customer SET name = 'shop', stock = stock - 2 WHERE id = 'e'));
$sum{e} -= 2;
all_have('beside a field that loses');
is(sql($hub, q(SELECT resolution FROM syncext.change_log WHERE external_id = 'e' AND source = 'Shop' ORDER BY seq DESC LIMIT 2)), "FIELD_RULE\nPRIORITY_WIN", 'by its rank');
is(sql($_, $name), 'office', 'the name is the other one at ' . $_->name) for $shop, $till;

sql($hub, q(SELECT sync_rule('customer', 'name', 'manual')));
office('e', '{"name": "again"}', 1);
sql($shop, q(UPDATE customer SET name = 'mine', stock = stock - 3 WHERE id = 'e'));
$sum{e} -= 3;
all_have('beside a field that is left to a reviewer');
is(sql($hub, q(SELECT status, incoming FROM syncext.conflict_log WHERE external_id = 'e')), 'pending|{"name": "mine"}', 'who gets the field alone');
sql($hub, q(SELECT sync_resolve(id, 'canonical') FROM syncext.conflict_log WHERE status = 'pending'; SELECT sync_rule('customer', 'name', NULL)));
sell($shop, 'e', 1);
all_have('and after that');
is(sql($_, $name), 'again', 'the name is as decided at ' . $_->name) for $shop, $till;

sell($shop, 'f', 4);
sql($hub, q(SELECT office('f', NULL)));
delete $sum{f};
ok(settle($shop, $till), 'nothing is added to what is deleted');
is(sql($hub, q(SELECT resolution, deleted FROM syncext.change_log JOIN syncext.canonical USING (external_id) WHERE external_id = 'f' AND source = 'Shop' ORDER BY seq DESC LIMIT 1)), 'TOMBSTONE|t', 'which is logged');
ok(exchange_until($shop, q(SELECT NOT EXISTS (SELECT FROM customer WHERE id = 'f'))), 'and the row goes');

# ---------- everything at once, and crashes ----------

for my $round (1 .. 6)
{
	my @exchanges = map { IPC::Run::start([ 'psql', '-XAtq', '-d', $_->connstr('shop'), '-c', "CALL sync_exchange('up')" ], '>', \my $out, '2>', \my $err) } $shop, $till;

	for (1 .. 12)
	{
		my $id = ('a', 'b', 'c', 'd')[ rand(4) ];
		my $who = int(rand(3));

		$who == 2 ? office($id, '{"name": "' . int(rand(1000)) . '"}', 1 + int(rand(5))) : sell(($shop, $till)[$who], $id, int(rand(9)) - 3);
	}
	my $dies = ($hub, $shop, $till)[ rand(3) ];
	$dies->stop('immediate');
	$_->finish for @exchanges;
	$dies->start;
}
all_have('sales, deliveries and crashes');

done_testing();
