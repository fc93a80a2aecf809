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

$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|terminated by signal (?!15)|you don't own a lock/, 'nothing crashed');
done_testing();
