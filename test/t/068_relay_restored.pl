# 068_relay_restored.pl
#	  A hub that goes back in time, behind a hub that is its spoke as a whole, and
#	  behind tables that only take: what can be sent again is, the rest is told.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use LinkPair;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $hub = make_hub('hub', [ 'Region', 'Screen' ]);
my $region = make_hub('region', [ 'Region' ]);
sql($hub, "UPDATE syncext.source SET relay = true WHERE name = 'Region'");
my ($host, $port) = ($hub->host, $hub->port);
my $server = qq(CREATE EXTENSION postgres_fdw;
	CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'shop');
	CREATE USER MAPPING FOR CURRENT_USER SERVER hub;);

sql($region, qq($server
	BEGIN; SELECT sync_link('up', 'hub', 'Region', relay => true); UPDATE syncext.link SET enabled = false; COMMIT;));
# a table that takes what comes and sends nothing, in a database of its own
$region->safe_psql('postgres', 'CREATE DATABASE screen');
$region->safe_psql('screen', qq(CREATE EXTENSION syncext; SELECT sync_add_entity('customer'); $server
	CREATE TABLE customer (id text PRIMARY KEY, name text, phone text);
	SELECT sync_add_source('Screen');
	BEGIN; SELECT sync_link('up', 'hub', 'Screen'); UPDATE syncext.link SET enabled = false; COMMIT;
	SELECT sync_attach('customer', 'Screen', 'customer', direction => 'out')));

sub settle_all
{
	my $quiet = 0;

	for (1 .. 60)
	{
		my $n = 0;
		for (exchange($region), exchange($region, 'screen'))
		{
			my $r = $_;
			$n += $r->{$_} for qw(pushed pulled failed rejected);
		}
		$quiet = $n == 0 ? $quiet + 1 : 0;
		return if $quiet == 2;
		select(undef, undef, undef, 0.15) if $n == 0;
	}
}

sql($region, q(SELECT office('A' || n, jsonb_build_object('name', 'Name ' || n, 'phone', '0')) FROM generate_series(1, 6) n));
settle_all();
all_equal('before', $hub, $region);
$hub->backup('files');
sql($region, q(SELECT office('A1', '{"phone": "1"}'), office('A2', NULL), office('Anew', '{"name": "New", "phone": "9"}')));
sql($hub, q(SELECT office('A3', '{"phone": "3"}'), office('A4', NULL), office('Amade', '{"name": "Made", "phone": "7"}')));
settle_all();
all_equal('what will be lost', $hub, $region);
restore_in_place($hub, 'files');
sql($hub, q(SELECT office('A5', '{"name": "Since"}')));
sql($region, q(SELECT office('A6', '{"phone": "6"}')));
# the table comes first: it has nothing to say
exchange($region, 'screen');
like($region->safe_psql('screen', 'SELECT problem, hint FROM sync_check()'), qr/gone back in time.*; 2 that it has lost are in tables from which nothing is sent.*Attach the table with direction/s,
	'records that the hub has lost, in a table that sends nothing, are told');
settle_all();
is(all_equal('restored', $hub, $region), join("\n", 'A1|Name 1|1', 'A3|Name 3|3', 'A5|Since|0', 'A6|Name 6|6', 'Amade|Made|7', 'Anew|New|9'),
	'a relay sends again what the hub had lost');
is($region->safe_psql('screen', 'SELECT id, name, phone FROM customer ORDER BY id COLLATE "C"'), rows($hub), 'and the table has what the hub has');
like(turned($region), qr/of \d+ records it had lost something that was sent again/, 'the relay tells');
sql($hub, q(SELECT office('A1', '{"phone": "11"}')));
sql($region, q(SELECT office('A6', '{"phone": "66"}')));
settle_all();
like(all_equal('later', $hub, $region), qr/A1\|Name 1\|11\n.*A6\|Name 6\|66/s, 'edits go on both ways');

# an edit that was answered beside one of others, which could not be written here yet
sql($region, q(ALTER TABLE syncext.canonical ADD CONSTRAINT waits CHECK (fields->>'name' <> 'Waits')));
sql($hub, q(SELECT office('A5', '{"name": "Waits"}')));
$hub->backup('waits');
sql($region, q(SELECT office('A5', '{"phone": "sent"}')));
exchange($region);
is(sql($hub, q(SELECT fields->>'phone' FROM syncext.canonical WHERE external_id = 'A5')), 'sent', 'an edit is answered');
is(sql($region, q(SELECT fields->>'name' FROM syncext.canonical WHERE external_id = 'A5')), 'Since', 'and what came before it at the hub has not come here');
restore_in_place($hub, 'waits');
sql($region, 'ALTER TABLE syncext.canonical DROP CONSTRAINT waits');
ok(exchange_until($region, q(SELECT fields->>'name' = 'Waits' FROM syncext.canonical WHERE external_id = 'A5')), 'beside others: what waited comes');
settle_all();
like(all_equal('beside others', $hub, $region), qr/A5\|Waits\|sent/, 'beside others: the edit is sent again');

# the relay goes back itself
$region->backup('relay');
sql($region, q(SELECT office('A1', '{"phone": "12"}'), office('A3', NULL)));
sql($hub, q(SELECT office('A6', '{"phone": "67"}')));
settle_all();
restore_in_place($region, 'relay');
settle_all();
like(all_equal('the relay restored', $hub, $region), qr/A1\|Name 1\|12\nA5.*A6\|Name 6\|67/s, 'a relay that went back gets what it had lost');

# ---------- records that the upper hub loses altogether, beside a spoke with a table ----------

sql($hub, "SELECT sync_add_source('Till', NULL)");
$region->safe_psql('postgres', 'CREATE DATABASE till');
$region->safe_psql('till', qq(CREATE EXTENSION syncext; SELECT sync_add_entity('customer'); $server
	CREATE TABLE customer (id text PRIMARY KEY, name text, phone text);
	SELECT sync_add_source('Till');
	BEGIN; SELECT sync_link('up', 'hub', 'Till'); UPDATE syncext.link SET enabled = false; COMMIT;
	SELECT sync_attach('customer', 'Till', 'customer')));
# what the till's word counts more for than the region's, it would win where it is contested
sql($hub, "INSERT INTO syncext.source_priority VALUES ('Till', '*', '*', 2), ('Region', '*', '*', 3) ON CONFLICT (source, entity, field) DO UPDATE SET priority = excluded.priority");

sub settle_both
{
	for (1 .. 6)
	{
		settle_all();
		last if exchange($region, 'till')->{pulled} + exchange($region, 'till')->{pushed} == 0;
	}
}

for my $order ([ 'region', 'shop', 'till' ], [ 'till', 'till', 'shop' ])
{
	my ($first, @databases) = @$order;
	my $p = uc substr($first, 0, 1);

	settle_both();
	$hub->backup("lost$first");
	sql($region, "SELECT office('$p' || n, jsonb_build_object('name', 'Name ' || n, 'phone', '0')) FROM generate_series(1, 4) n");
	settle_both();
	# the till doesn't hear of it
	sql($region, "SELECT office('${p}1', NULL), office('${p}2', '{\"phone\": \"2\"}')");
	exchange($region);
	# the hub doesn't, either
	sql($region, "SELECT office('${p}3', NULL)");
	restore_in_place($hub, "lost$first");
	exchange($region, $_) for @databases;
	settle_both();
	my $rows = rows($hub);
	is(join("\n", grep { /^$p/ } split /\n/, $rows), "${p}2|Name 2|2\n${p}4|Name 4|0", "$first first: what a relay has deleted is gone, what it has edited stays so");
	is(rows($region), $rows, "$first first: the relay has it");
	is($region->safe_psql('till', 'SELECT id, name, phone FROM customer ORDER BY id COLLATE "C"'), $rows, "$first first: and the table");
	is(sql($hub, "SELECT count(*) FROM syncext.change_log WHERE external_id LIKE '$p%' AND detail->'lost' IS NOT NULL"), '0', "$first first: nothing was contested");
}

$_->stop for $hub, $region;
done_testing();
