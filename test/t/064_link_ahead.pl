# 064_link_ahead.pl
#	  While the hub works on a batch of edits, the spoke makes up the next one: either
#	  side dies then, a change of the first fails and its record is edited again, the hub
#	  can't take as much as the second has, and what the second edits is edited at the hub.
#
# The hub is kept at a batch by a lock on a record of it.  That the next one is made up by
# then is what the spoke's log says.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use LinkPair;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $rows = 300;
my $hub = make_hub('hub', ['Shop']);
my $shop = make_spoke('shop', $hub, 'Shop');

$shop->append_conf('postgresql.conf', <<'END');
shared_preload_libraries = 'syncext'
syncext.link_batch = 100
syncext.link_interval = 1s
log_min_messages = debug1
END
$shop->restart;

sql($shop, "INSERT INTO customer SELECT format('r%s', to_char(i, 'FM000')), 'start', 'phone' FROM generate_series(1, $rows) i");
ok(settle($shop), 'the hub has the rows');
sql($shop, 'UPDATE syncext.link SET enabled = true');

# How often a record's changes were written at the hub since the log stood there, the least and the most
sub written_since
{
	my ($seq) = @_;
	return sql($hub, "SELECT min(n) || ' ' || max(n) || ' ' || count(*) FROM (SELECT count(*) AS n FROM syncext.change_log
		WHERE seq > $seq AND source = 'Shop' GROUP BY external_id) x");
}

sub log_stands
{
	return sql($hub, 'SELECT max(seq) FROM syncext.change_log');
}

# Edit all rows, and return the session that keeps the hub at the first batch: the spoke
# has made up the second one by then.
sub hold_at_first
{
	my ($edit) = @_;
	my $holder = Session->new($hub->connstr('shop'));
	my $log = -s $shop->logfile;

	$holder->query('BEGIN');
	$holder->query(q(SELECT FROM syncext.canonical WHERE external_id = 'r050' FOR UPDATE));
	sql($shop, $edit);
	ok($hub->poll_query_until('shop', q(SELECT EXISTS (SELECT FROM pg_stat_activity
		WHERE application_name = 'syncext up' AND wait_event_type = 'Lock'))), 'the hub is at the first batch');
	ok(eventually(sub { slurp_file($shop->logfile, $log) =~ /a batch of 100 changes is ready/ }), 'and the second is ready');
	return $holder;
}

sub eventually
{
	my ($true) = @_;

	for my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if $true->();
		select(undef, undef, undef, 0.1);
	}
	return 0;
}

# All rows are at the hub as they are here, and nothing is on its way any more.
sub arrived
{
	my ($what) = @_;

	ok(eventually(sub { sql($shop, 'SELECT count(*) FROM syncext.outbound_change') eq '0' && rows($hub) eq rows($shop) }),
		"$what: all of it arrives");
	ok(eventually(sub { sql($shop, 'SELECT count(*) FROM syncext.capture_failure') eq '0' }), "$what: nothing was given up");
}

# ---------- the hub dies ----------

my $seq = log_stands();
my $holder = hold_at_first(q(UPDATE customer SET name = 'hub dies'));

$hub->stop('immediate');
$holder->quit;
$hub->start;
arrived('the hub died');
is(written_since($seq), "1 1 $rows", 'the hub died: each change was written once');

# ---------- the spoke dies ----------

$seq = log_stands();
$holder = hold_at_first(q(UPDATE customer SET name = 'spoke dies'));
$shop->stop('immediate');
$holder->query('COMMIT');
# what it had sent is taken even so, and answered to nobody
ok($hub->poll_query_until('shop', "SELECT count(*) = 100 FROM syncext.change_log WHERE seq > $seq AND source = 'Shop'"),
	'the hub takes the first batch');
$holder->quit;
$shop->start;
arrived('the spoke died');
is(written_since($seq), "1 1 $rows", 'the spoke died: each change was written once');

# ---------- the hub dies once it has taken the first, before that is heard ----------

$seq = log_stands();
$holder = hold_at_first(q(UPDATE customer SET name = 'answer lost'));
my $worker = sql($shop, q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'syncext link'));
kill 'STOP', $worker;
$holder->query('COMMIT');
ok($hub->poll_query_until('shop', "SELECT count(*) = 100 FROM syncext.change_log WHERE seq > $seq AND source = 'Shop'"),
	'the hub takes the first batch, and is not heard');
$holder->quit;
$hub->stop('immediate');
kill 'CONT', $worker;
$hub->start;
arrived('the answer was lost');
is(written_since($seq), "1 1 $rows", 'the answer was lost: each change was written once');

# ---------- a change of the first fails, and its record is edited meanwhile ----------

sql($hub, q(ALTER TABLE syncext.canonical ADD CONSTRAINT no_bad CHECK (fields->>'name' <> 'bad')));
$seq = log_stands();
$holder = hold_at_first(q(UPDATE customer SET name = CASE WHEN id = 'r020' THEN 'bad' ELSE 'fails' END));
sql($shop, q(UPDATE customer SET name = 'good', phone = 'new' WHERE id = 'r020'));
$holder->query('COMMIT');
$holder->quit;
arrived('a change failed');
is(sql($hub, q(SELECT fields->>'name' FROM syncext.canonical WHERE external_id = 'r020')), 'good', 'a change failed: what came later counts');
is(written_since($seq), "1 1 $rows", 'a change failed: all others were written once, and that one as it was in the end');
sql($hub, 'ALTER TABLE syncext.canonical DROP CONSTRAINT no_bad');

# ---------- the second is more than the hub takes at once ----------

$seq = log_stands();
$holder = hold_at_first(q(UPDATE customer SET name = 'too many'));
sql($hub, "LOAD 'syncext'; ALTER SYSTEM SET syncext.max_batch = 30; SELECT pg_reload_conf()");
$holder->query('COMMIT');
$holder->quit;
arrived('too many');
is(written_since($seq), "1 1 $rows", 'too many: they come in halves, each once');
sql($hub, "LOAD 'syncext'; ALTER SYSTEM RESET syncext.max_batch; SELECT pg_reload_conf()");

# ---------- what the second edits is edited at the hub ----------

$seq = log_stands();
$holder = hold_at_first(q(UPDATE customer SET name = 'both'));
is(sql($hub, q(SELECT office('r150', '{"phone": "office"}'))), 'VERSION_WIN', 'a record of the second is edited at the hub, too');
$holder->query('COMMIT');
$holder->quit;
arrived('both');
is(sql($shop, q(SELECT name || ' ' || phone FROM customer WHERE id = 'r150')), 'both office', 'both: each has its field');
is(written_since($seq), "1 1 $rows", 'both: each change was written once');

done_testing();
