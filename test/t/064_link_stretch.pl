# 064_link_stretch.pl
#	  A spoke's transaction of more edits than are folded at one go: they are sent in stretches,
#	  each record's in order, and nothing is lost or sent twice when the session that sends
#	  them ends halfway, or the hub's records are edited meanwhile.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use LinkPair;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $rows = 60_000;	# all of which are edited twice: batch.c folds 50,000 edits at one go
my $hub = make_hub('hub', ['Shop']);
my $shop = make_spoke('shop', $hub, 'Shop');

$shop->append_conf('postgresql.conf', "syncext.link_batch = 1000\nautovacuum = off\n");
$shop->reload;
sql($shop, "INSERT INTO customer SELECT format('r%s', to_char(i, 'FM00000')), 'start', 'phone' FROM generate_series(1, $rows) i");
# and a counter, of which edits are in the first stretch and in the last
sql($_, "SELECT sync_add_entity('stock'); INSERT INTO syncext.field_rule VALUES ('stock', 'n', 'sum')") for $hub, $shop;
sql($shop, "CREATE TABLE stock (id text PRIMARY KEY, n int); SELECT sync_attach('stock', 'Shop', 'stock');
	INSERT INTO stock SELECT k, 100 FROM generate_series(1, 50) k");
ok(settle($shop), 'the hub has the rows');
my $log = sql($hub, 'SELECT max(seq) FROM syncext.change_log');

sql($shop, q(
	BEGIN;
	UPDATE stock SET n = n - 3;
	UPDATE customer SET name = 'first';
	-- in another order, some once more, and some are gone
	UPDATE customer SET name = 'second', phone = CASE WHEN id < 'r05000' THEN 'called' ELSE phone END WHERE id >= 'r02500';
	UPDATE customer SET name = 'second' WHERE id < 'r02500';
	UPDATE customer SET phone = 'last' WHERE id LIKE '%7';
	DELETE FROM customer WHERE id LIKE '%99';
	UPDATE stock SET n = n - 4;
	COMMIT;
));

# How the cursor stands, how many records are to come by the view, and by what a new cursor
# would begin with
sub stands
{
	return split /\|/, sql($shop, q(
		SELECT hi IS NOT NULL, stretch_xid <> '0', forgotten_xid <> '0',
			(SELECT count(*) FROM syncext.outbound_change WHERE target = 'Shop'),
			(SELECT count(DISTINCT external_id) FROM syncext.unanswered_edits('Shop'))
		FROM syncext.cursor WHERE target = 'Shop'));
}

sub taken
{
	return sql($hub, "SELECT count(*) FROM syncext.change_log WHERE seq > $log AND source = 'Shop'");
}

# Exchange until the hub has so many changes, then end the session that does.
sub exchange_to
{
	my ($n) = @_;
	my $session = Session->new($shop->connstr('shop'));
	my $pid = $session->query('SELECT pg_backend_pid()');

	$session->send("CALL sync_exchange('up')");
	my $reached = $hub->poll_query_until('shop', "SELECT count(*) >= $n FROM syncext.change_log WHERE seq > $log AND source = 'Shop'");
	sql($shop, "SELECT pg_terminate_backend($pid, 10000)");
	return $reached;
}

my (%seen, @breaks);
for my $n (10_000, 60_000, 80_000)
{
	ok(exchange_to($n), "the session ends when the hub has $n changes");
	my ($in_window, $stretch, $forgotten, $waiting, $unanswered) = stands();
	ok($in_window eq 't' && $stretch eq 't', 'within a stretch');
	is($waiting, $unanswered, 'what the view says is to come would come again');
	$seen{$forgotten}++;
	push @breaks, [$waiting, sql($hub, 'SELECT max(seq) FROM syncext.change_log')];
	# a record of which an edit waits is edited at the hub, another field of it
	sql($hub, "SELECT office('r5999" . keys(%seen) . "', '{\"city\": \"Rome\"}'),
		sync_apply('{\"source\": \"Office\", \"entity\": \"stock\", \"externalId\": \"1\", \"changeId\": \"$n\", \"increments\": {\"n\": 10}}')");
}
is(join(' ', sort keys %seen), 'f t', 'in the first one, and in another');

ok(settle($shop), 'all is exchanged');
is(sql($shop, q(SELECT count(*) FROM syncext.outbound_change WHERE target = 'Shop')), 0, 'nothing is to come');
is(sql($shop, q(SELECT hi IS NULL AND stretch_xid = '0' AND forgotten_xid = '0' FROM syncext.cursor WHERE target = 'Shop')), 't',
	'no stretch is left');
is(rows($hub), sql($shop, 'SELECT id, name, phone FROM customer ORDER BY id COLLATE "C"'), 'the hub has what the table has');
is(sql($hub, q(SELECT count(*) FROM syncext.canonical WHERE deleted AND external_id LIKE '%99')), $rows / 100, 'what was deleted is');
my $stock = "1|123\n" . join("\n", map { "$_|93" } 2 .. 50);
is(sql($hub, "SELECT external_id, fields->>'n' FROM syncext.canonical WHERE entity = 'stock' ORDER BY external_id::int"), $stock, 'all was added at the hub');
is(sql($shop, 'SELECT * FROM stock ORDER BY id::int'), $stock, 'and in the table');
is(sql($shop, 'SELECT count(*) FROM syncext.capture_failure'), 0, 'nothing was given up');
is(sql($hub, q(SELECT count(*) FROM syncext.conflict_log)), 0, 'nor in conflict');

# the two batches that were on their way may have been taken already
for my $break (@breaks)
{
	my ($waiting, $seq) = @$break;
	my $came = sql($hub, "SELECT count(DISTINCT external_id) FROM syncext.change_log WHERE seq > $seq AND source = 'Shop'");
	ok($came <= $waiting && $came >= $waiting - 2000, "$waiting were to come, $came came");
}

# of a record whose edits are in two stretches, the hub has heard in order
my $changes = sql($hub, qq(
	SELECT string_agg(n || ': ' || records, ', ' ORDER BY n) FROM (
		SELECT n, count(*) AS records FROM (
			SELECT external_id, count(*) AS n FROM syncext.change_log WHERE seq > $log AND source = 'Shop'
				AND entity = 'customer' GROUP BY 1) x
		GROUP BY n) y));
like($changes, qr/^(1: \d+, )?2: \d+(, 3: \d+)?$/, 'each record came once a stretch at most');
is(sql($hub, qq(
	SELECT count(*) FROM syncext.change_log a JOIN syncext.change_log b USING (entity, external_id)
	WHERE a.seq > $log AND b.seq > a.seq AND a.source = 'Shop' AND b.source = 'Shop' AND a.entity = 'customer'
	  AND NOT (a.fields->>'name' = 'first' OR a.fields->>'name' = 'second' AND b.fields->>'name' IS DISTINCT FROM 'first'))), 0,
	'and in the order of its edits');

$_->stop for $shop, $hub;
done_testing();
