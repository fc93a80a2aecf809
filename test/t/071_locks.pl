# 071_locks.pl
#	  No lock outlives its process, and a link whose worker is gone gets one.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q(
max_worker_processes = 20
syncext.link_interval = 1h
syncext.link_timeout = 60s
restart_after_crash = off
));
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE hub');
$node->safe_psql('hub', q(
	CREATE EXTENSION syncext;
	SELECT sync_add_entity('customer'), sync_add_source('A')));
$node->safe_psql('postgres', sprintf(q(
	CREATE EXTENSION syncext;
	CREATE EXTENSION postgres_fdw;
	CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname 'hub');
	CREATE USER MAPPING FOR CURRENT_USER SERVER hub;
	SELECT sync_add_entity('customer'), sync_add_source('A');
	CREATE TABLE customer (id text PRIMARY KEY, name text);
	SELECT sync_link('up', 'hub', 'A');
	SELECT sync_attach('customer', 'A', 'customer')), $node->host, $node->port));

my $runs = q(SELECT pid IS NOT NULL AND state = 'waiting' AND last_exchange IS NOT NULL FROM syncext.link_status);
my $is_ours = q(l.locktype = 'object' AND l.classid = 'syncext.binding'::regclass
	AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()));

sub wait_for
{
	my ($database, $query, $name) = @_;

	ok($node->poll_query_until($database, $query), $name);
}

# Ends a process; others take its place at once.
sub terminate
{
	my ($database, $pid) = @_;

	$node->safe_psql($database, qq(
		SELECT pg_terminate_backend($pid, 10000);
		SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
		SELECT count(*) FROM pg_class, pg_attribute));
}

# A lock of a process that isn't there, or that holds another's.
sub no_lock_of
{
	my ($database, $pid, $objsubid, $name) = @_;

	is($node->safe_psql($database, qq(
		SELECT count(*) FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
		WHERE $is_ours AND l.objsubid = $objsubid
		  AND (a.pid IS NULL OR l.pid = $pid OR a.backend_type = 'parallel worker'))), '0', $name);
}

# ---------- the worker, the notifier ----------

wait_for('postgres', $runs, 'the worker starts');
for my $round (1 .. 3)
{
	my $pid = $node->safe_psql('postgres', 'SELECT pid FROM syncext.link_status');

	terminate('postgres', $pid);
	no_lock_of('postgres', $pid, 6, "round $round: the worker's lock is gone with it");
	wait_for('postgres', "SELECT pid <> $pid AND state = 'waiting' FROM syncext.link_status", "round $round: there is a worker again");
}

my $notifier = $node->safe_psql('hub', 'SELECT notifier_pid FROM syncext.feed_state');
terminate('hub', $notifier);
no_lock_of('hub', $notifier, 7, 'the notifier\'s lock is gone with it');
wait_for('hub', "SELECT notifier_pid <> $notifier FROM syncext.feed_state", 'there is a notifier again');

# ---------- a worker that has failed keeps others away ----------

my $pid = $node->safe_psql('postgres', 'SELECT pid FROM syncext.link_status');
$node->safe_psql('postgres', 'ALTER DATABASE hub ALLOW_CONNECTIONS false');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = 'hub' AND backend_type = 'client backend'");
$node->safe_psql('postgres', q(INSERT INTO customer VALUES ('1', 'a')));
wait_for('postgres', q(SELECT failures >= 2 FROM syncext.link_status), 'the link fails');
wait_for('postgres', qq(SELECT count(*) = 1 FROM pg_locks l WHERE $is_ours AND l.objsubid = 6 AND l.pid = $pid), 'the worker has its lock after an error');
$node->safe_psql('postgres', 'ALTER DATABASE hub ALLOW_CONNECTIONS true');
wait_for('hub', q(SELECT sync_record('customer', '1') IS NOT NULL), 'it goes on');

# ---------- a link without a worker ----------

$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
is($node->safe_psql('postgres', q(SELECT syncext.start_workers())), '0', 'where there is no room no worker starts');
like($node->safe_psql('postgres', q(SELECT problem || ' ' || hint FROM sync_check() WHERE object = 'link up')),
	qr/has no worker SELECT syncext\.start_workers\(\)/, 'sync_check tells of it');
$node->append_conf('postgresql.conf', 'max_worker_processes = 20');
$node->restart;
$node->safe_psql('postgres', 'SELECT syncext.start_workers()');
wait_for('postgres', $runs, 'with room the call in the hint starts it');

# ---------- a session that exchanges ----------

$node->safe_psql('postgres', 'UPDATE syncext.link SET enabled = false');
wait_for('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'syncext link'), 'disabled, the link has no worker');
$node->safe_psql('postgres', q(INSERT INTO customer VALUES ('2', 'b')));
my $blocker = $node->background_psql('hub');
$blocker->query_safe('BEGIN; LOCK TABLE syncext.canonical');
my $exchange = $node->background_psql('postgres', on_error_stop => 0);
$pid = $exchange->query_safe('SELECT pg_backend_pid()');
$exchange->query_until(qr/started/, "\\echo started\nCALL sync_exchange('up');\n");
wait_for('hub', q(SELECT count(*) > 0 FROM pg_locks WHERE relation = 'syncext.canonical'::regclass AND NOT granted), 'an exchange waits for its hub');
is($node->safe_psql('postgres', "SELECT xact_start IS NULL OR backend_xmin IS NULL FROM pg_stat_activity WHERE pid = $pid"), 't', 'it has no snapshot meanwhile');
terminate('postgres', $pid);
no_lock_of('postgres', $pid, 5, 'ended, it has no lock any more');
$blocker->query_safe('ROLLBACK');
$blocker->quit;
$node->safe_psql('postgres', q(CALL sync_exchange('up')));
is($node->safe_psql('hub', q(SELECT sync_record('customer', '2') IS NOT NULL)), 't', 'the next session exchanges');

# ---------- procedures that are broken off ----------

$node->safe_psql('postgres', q(
	SELECT sync_add_entity('item'), sync_add_source('P'), sync_add_source('T');
	CREATE TABLE polled (id int PRIMARY KEY, v int);
	INSERT INTO polled SELECT i, i FROM generate_series(1, 20) i;
	SELECT sync_attach('polled', 'P', 'item', capture => 'poll');
	CALL sync_poll('polled');
	CALL sync_maintain()));

# What is called, what it waits for in the middle, what makes it have work again, and
# which job it is.
my %call = (
	poll => [ q(CALL sync_poll('polled')), q(SELECT FROM syncext.canonical WHERE entity = 'item' AND external_id = '17' FOR UPDATE),
		q(UPDATE polled SET v = v + 1), 'poll' ],
	'full poll' => [ q(CALL sync_poll('polled', true)), q(LOCK TABLE syncext.replica), q(UPDATE polled SET v = v + 1), 'poll' ],
	'scheduled poll' => [ q(CALL syncext.run_job('polled', 'poll')), q(SELECT FROM syncext.canonical WHERE entity = 'item' AND external_id = '17' FOR UPDATE),
		q(UPDATE polled SET v = v + 1), 'poll' ],
	'scheduled delivery' => [ q(CALL syncext.run_job('polled', 'deliver')), q(SELECT FROM polled WHERE id = 9 FOR UPDATE),
		q(SELECT sync_apply(jsonb_build_object('externalId', i::text, 'entity', 'item', 'source', 'T', 'base', row_version, 'fields', jsonb_build_object('v', i + 1000 * row_version)))
		  FROM generate_series(8, 10) i, LATERAL (SELECT row_version FROM syncext.canonical WHERE entity = 'item' AND external_id = i::text) r), 'deliver' ],
	load => [ q(CALL sync_load('customer')), q(SELECT FROM customer WHERE id = '2' FOR UPDATE), q(SELECT 1), 'load' ],
	maintenance => [ 'CALL sync_maintain()', 'LOCK TABLE syncext.job_run', 'SELECT 1', undef ]);

# Every lock that isn't a table's or a row's, and is held by a process of ours or by none.
my $left_behind = q(SELECT string_agg(format('%s %s of %s', l.locktype, l.objsubid, l.pid), ', ') FROM pg_locks l
	WHERE l.locktype = 'advisory' OR (l.locktype = 'object' AND l.classid = 'syncext.binding'::regclass));

for my $how ('cancel', 'terminate')
{
	for my $name (sort keys %call)
	{
		my ($call, $hold, $work, $job) = @{ $call{$name} };

		$node->safe_psql('postgres', $work);
		my $holder = $node->background_psql('postgres');
		$holder->query_safe("BEGIN; $hold");
		my $session = $node->background_psql('postgres', on_error_stop => 0);
		my $session_pid = $session->query_safe('SELECT pg_backend_pid()');
		$session->query_until(qr/started/, "LOAD 'syncext'; SET syncext.lock_timeout = '60s'; SET syncext.maintain_lock_timeout = '60s'; SET syncext.poll_batch = 5;\n\\echo started\n$call;\n");
		wait_for('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $session_pid", "$name, $how: it waits in the middle");
		isnt($node->safe_psql('postgres', $left_behind), '', "$name, $how: it has locks of ours");
		$node->safe_psql('postgres', $how eq 'cancel' ? "SELECT pg_cancel_backend($session_pid)" : "SELECT pg_terminate_backend($session_pid, 10000)");
		wait_for('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $session_pid AND state = 'active'", "$name, $how: it ends");
		is($node->safe_psql('postgres', $left_behind), '', "$name, $how: no lock is left");
		$holder->query_safe('ROLLBACK');
		$holder->quit;
		is($node->psql('postgres', $call), 0, "$name, $how: the next one works");
		is($node->safe_psql('postgres', q(SELECT string_agg(DISTINCT status, ' ') FROM syncext.job_run WHERE ended_at IS NULL OR status = 'running')), '', "$name, $how: no run is open")
			if defined $job;
		$session->quit if $how eq 'cancel';
	}
}

$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|terminated by signal (?!15)|you don't own a lock/, 'nothing crashed');
done_testing();
