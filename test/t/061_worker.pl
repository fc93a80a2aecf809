# 061_worker.pl
#	  The worker of a link, with real servers: when it starts, what it survives,
#	  when it leaves, and what wakes it.
#
# syncext.link_interval is an hour nearly everywhere: what arrives was woken.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

# ---------- servers ----------

sub new_node
{
	my ($name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', qq(
syncext.link_interval = 1h
syncext.link_timeout = 5s
max_worker_processes = 20
max_prepared_transactions = 5
restart_after_crash = on
log_min_messages = info
));
	$node->start;
	return $node;
}

# Where the server can be reached, as options of a foreign server.
sub options_of
{
	my ($hub, $database) = @_;
	return sprintf("OPTIONS (host '%s', port '%s', dbname '%s')", $hub->host, $hub->port, $database);
}

sub make_hub
{
	my ($hub, $database, @sources) = @_;

	$hub->safe_psql('postgres', "CREATE DATABASE $database");
	$hub->safe_psql($database, q(CREATE EXTENSION syncext; SELECT sync_add_entity('customer')));
	$hub->safe_psql($database, "SELECT sync_add_source('$_')") for @sources;
}

# A database with a table that is linked to the hub.
sub make_spoke
{
	my ($node, $database, $source, $hub, $hub_database) = @_;
	my $options = options_of($hub, $hub_database);

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, qq(
		CREATE EXTENSION syncext;
		CREATE EXTENSION postgres_fdw;
		CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw $options;
		CREATE USER MAPPING FOR CURRENT_USER SERVER hub;
		SELECT sync_add_entity('customer'), sync_add_source('$source');
		CREATE TABLE customer (id text PRIMARY KEY, name text);
		SELECT sync_link('up', 'hub', '$source');
		SELECT sync_attach('customer', '$source', 'customer');
	));
}

# ---------- looking ----------

sub wait_for
{
	my ($node, $database, $query, $name) = @_;
	my $ok = $node->poll_query_until($database, $query);

	diag($node->safe_psql($database, 'SELECT row_to_json(s) FROM syncext.link_status s')) unless $ok;
	ok($ok, $name);
}

my $runs = q(SELECT pid IS NOT NULL AND state IN ('waiting', 'no table') AND last_exchange IS NOT NULL FROM syncext.link_status);

sub worker_pid
{
	my ($node, $database) = @_;
	return $node->safe_psql($database, 'SELECT pid FROM syncext.link_status');
}

# A worker, and another one than that.
sub runs_but_not
{
	my ($pid) = @_;
	return "SELECT pid <> $pid AND state = 'waiting' FROM syncext.link_status";
}

my $edits = 0;

# An edit on one spoke reaches the hub and another spoke.
sub edit_arrives
{
	my ($from, $from_db, $hub, $hub_db, $to, $to_db, $how) = @_;
	my $id = 'E' . ++$edits;

	$from->safe_psql($from_db, "INSERT INTO customer VALUES ('$id', 'a')");
	wait_for($hub, $hub_db, "SELECT sync_record('customer', '$id')->'fields'->>'name' = 'a'", "$how: an edit reaches the hub");
	wait_for($to, $to_db, "SELECT EXISTS (SELECT FROM customer WHERE id = '$id')", "$how: and another spoke");
	return $id;
}

my $hub = new_node('hub');
my $a = new_node('a');
my $b = new_node('b');

make_hub($hub, 'hub', qw(A B Web));
make_spoke($a, 'a', 'A', $hub, 'hub');
make_spoke($b, 'b', 'B', $hub, 'hub');
my @both = ($a, 'a', $hub, 'hub', $b, 'b');

# ---------- start and wake-up ----------

wait_for($a, 'a', $runs, 'the worker starts when the link is made, without a restart');
wait_for($b, 'b', $runs, 'another spoke\'s, too');
edit_arrives(@both, 'woken');
edit_arrives($b, 'b', $hub, 'hub', $a, 'a', 'the other way');

$hub->safe_psql('hub', q(SELECT sync_apply('{"source": "Web", "entity": "customer", "externalId": "W1", "version": 1, "name": "w"}')));
wait_for($b, 'b', q(SELECT EXISTS (SELECT FROM customer WHERE id = 'W1')), 'what is written at the hub itself reaches a spoke');

is($a->safe_psql('a', q(SELECT backend_type || ', ' || application_name FROM pg_stat_activity WHERE backend_type LIKE 'syncext%')),
	'syncext link, syncext link up', 'the worker shows in pg_stat_activity');
is($hub->safe_psql('hub', q(SELECT string_agg(backend_type, ' ') FROM pg_stat_activity WHERE backend_type LIKE 'syncext%')),
	'syncext notifier', 'and the hub\'s notifier, once however many listen');
# one that could not be started when a link began to listen
make_hub($hub, 'lone', 'A');
my $listener = $hub->background_psql('lone');
$listener->query_safe("INSERT INTO syncext.listener VALUES (pg_backend_pid(), 'A', now() - interval '2 min')");
my $untold = q(SELECT problem FROM sync_check() WHERE object = 'notifier');
is($hub->safe_psql('lone', $untold), 'does not run, though 1 session of links listens: links hear of changes no sooner than they ask', 'a notifier that is missing is told of');
is($hub->safe_psql('lone', 'SELECT syncext.start_workers()'), 1, 'start_workers starts it');
wait_for($hub, 'lone', "SELECT NOT EXISTS ($untold)", 'and all is well');
is($hub->safe_psql('lone', 'SELECT syncext.start_workers()'), 0, 'no other is started');
$listener->quit;

is($a->safe_psql('a', q(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'syncext link' AND (backend_xmin IS NOT NULL OR xact_start IS NOT NULL))),
	'0', 'a worker that waits has no transaction');

# what a prepared transaction has written is told of when that is committed
$a->safe_psql('a', q(BEGIN; INSERT INTO customer VALUES ('P1', 'p'); PREPARE TRANSACTION 'p1'));
$hub->safe_psql('hub', q(BEGIN; SELECT sync_apply('{"source": "Web", "entity": "customer", "externalId": "P2", "version": 1, "name": "p"}'); PREPARE TRANSACTION 'p2'));
is($b->safe_psql('b', q(SELECT count(*) FROM customer WHERE id IN ('P1', 'P2'))), '0', 'what is prepared stays');
$a->safe_psql('a', q(COMMIT PREPARED 'p1'));
$hub->safe_psql('hub', q(COMMIT PREPARED 'p2'));
wait_for($b, 'b', q(SELECT count(*) = 2 FROM customer WHERE id IN ('P1', 'P2')), 'committed, in sessions that know nothing of syncext, it goes');

# what is rolled back wakes nobody, and does no harm
$a->safe_psql('a', q(BEGIN; INSERT INTO customer VALUES ('R1', 'r'); ROLLBACK));
edit_arrives(@both, 'after a rollback');

# many sessions commit at once: fewer notifications than changes
$hub->append_conf('postgresql.conf', q(syncext.notify_interval = '1s'));
$hub->reload;
$a->safe_psql('a', join(';', map { "INSERT INTO customer VALUES ('M$_', 'm')" } 1 .. 50));
wait_for($b, 'b', q(SELECT count(*) = 50 FROM customer WHERE id LIKE 'M%'), 'a burst arrives as a whole');
$hub->append_conf('postgresql.conf', q(syncext.notify_interval = '2ms'));
$hub->reload;

# ---------- two workers at one link ----------

my $pid = worker_pid($a, 'a');
$a->safe_psql('a', q(UPDATE syncext.link SET server = server)) for 1 .. 3;
edit_arrives(@both, 'started again and again');
ok($a->poll_query_until('a', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'syncext link')), 'there is one worker at a link');
is(worker_pid($a, 'a'), $pid, 'the first');

# ---------- disabled, unlinked ----------

$a->safe_psql('a', q(UPDATE syncext.link SET enabled = false));
wait_for($a, 'a', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'syncext link'), 'a disabled link has no worker');
is($a->safe_psql('a', 'SELECT state FROM syncext.link_status'), 'disabled', 'and says so');
$a->safe_psql('a', q(INSERT INTO customer VALUES ('D1', 'd')));
is($a->safe_psql('a', 'SELECT unanswered FROM syncext.link_status'), '1', 'what was edited meanwhile is counted');
$a->safe_psql('a', q(UPDATE syncext.link SET enabled = true));
wait_for($b, 'b', q(SELECT EXISTS (SELECT FROM customer WHERE id = 'D1')), 'enabled, it goes on where it was');

# ---------- configuration ----------

wait_for($a, 'a', $runs, 'nothing is to be done');
$a->append_conf('postgresql.conf', q(syncext.link_interval = '1s'));
$a->reload;
my %exchanged;
for (1 .. $PostgreSQL::Test::Utils::timeout_default * 4)
{
	$exchanged{ $a->safe_psql('a', 'SELECT last_exchange FROM syncext.link_status') } = 1;
	last if keys %exchanged >= 4;
	Time::HiRes::sleep(0.25);
}
cmp_ok(scalar(keys %exchanged), '>=', 4, 'a shorter syncext.link_interval is in force at once: it exchanges though nothing is to be done');
$a->append_conf('postgresql.conf', q(syncext.link_interval = '1h'));
$a->reload;

# ---------- the hub goes and comes ----------

$hub->stop('fast');
wait_for($a, 'a', q(SELECT state = 'retrying' AND failures >= 2 AND next_attempt IS NOT NULL FROM syncext.link_status), 'the hub is away: the link retries');
# what it met first may have been the hub on its way down
wait_for($a, 'a', q(SELECT last_error ~ '^08001: link "up" could not connect to its hub: .*No such file or directory' FROM syncext.link_status), 'and says why');
$pid = worker_pid($a, 'a');
$a->safe_psql('a', q(INSERT INTO customer VALUES ('O1', 'offline')));
$hub->start;
wait_for($b, 'b', q(SELECT EXISTS (SELECT FROM customer WHERE id = 'O1')), 'the hub is back: what was edited meanwhile goes on');
is(worker_pid($a, 'a'), $pid, 'the worker is the one that there was');
wait_for($a, 'a', q(SELECT failures = 0 AND next_attempt IS NULL FROM syncext.link_status), 'and its link is well');
edit_arrives(@both, 'after a restart of the hub');

# ---------- processes that die ----------

# by request of an administrator: the postmaster starts another one
$pid = worker_pid($a, 'a');
$a->safe_psql('a', "SELECT pg_terminate_backend($pid)");
wait_for($a, 'a', runs_but_not($pid), 'a worker that was terminated is started again');
edit_arrives(@both, 'with another worker');

$pid = worker_pid($a, 'a');
my $end = -s $a->logfile;
kill 'KILL', $pid;
$a->wait_for_log(qr/was terminated by signal 9.*database system is ready to accept connections/s, $end);
ok($a->poll_query_until('a', runs_but_not($pid)), 'kill -9: the server recovers, and the worker is back');
edit_arrives(@both, 'after a crash');

my $notifier = $hub->safe_psql('hub', 'SELECT notifier_pid FROM syncext.feed_state');
$hub->safe_psql('hub', "SELECT pg_terminate_backend($notifier)");
ok($hub->poll_query_until('hub', "SELECT notifier_pid <> $notifier FROM syncext.feed_state"), 'a notifier that was terminated is started again');
edit_arrives(@both, 'with another notifier');

# cancelled, it tries again
$a->safe_psql('a', q(SELECT pg_cancel_backend(pid) FROM syncext.link_status));
edit_arrives(@both, 'after a cancel');

# ---------- restarts ----------

$a->restart;
is($a->safe_psql('a', q(SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'syncext%')), '0', 'after a restart no worker runs');
is($a->safe_psql('a', 'SELECT state FROM syncext.link_status'), 'stopped', 'which the status says');
edit_arrives(@both, 'after a restart, by the first use in a session');

$a->append_conf('postgresql.conf', q(shared_preload_libraries = 'syncext'));
$a->restart;
ok($a->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'syncext link')),
	'with shared_preload_libraries it starts with the server');
ok($a->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('syncext launcher', 'syncext starter'))),
	'and who has started it is gone');
edit_arrives(@both, 'preloaded');

# ---------- errors that the status tells of ----------

make_hub($hub, 'closed', 'A');
$hub->safe_psql('postgres', q(CREATE ROLE guest LOGIN PASSWORD 'right'));
$hub->safe_psql('closed', q(UPDATE syncext.source SET role = 'guest'));
my $hba = PostgreSQL::Test::Utils::slurp_file($hub->data_dir . '/pg_hba.conf');
$hub->append_conf('pg_hba.conf', '');
open(my $fh, '>', $hub->data_dir . '/pg_hba.conf') or die;
print $fh "local all guest scram-sha-256\n$hba";
close($fh);
$hub->reload;
$a->safe_psql('postgres', 'CREATE DATABASE c');
$a->safe_psql('c', 'CREATE EXTENSION syncext; CREATE EXTENSION postgres_fdw');
$a->safe_psql('c', 'CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw ' . options_of($hub, 'closed'));
$a->safe_psql('c', q(
	CREATE USER MAPPING FOR CURRENT_USER SERVER hub OPTIONS (user 'guest', password 'right');
	SELECT sync_add_source('A'), sync_link('up', 'hub', 'A')));
wait_for($a, 'c', $runs, 'with its password the link works');
$hub->safe_psql('postgres', q(ALTER ROLE guest PASSWORD 'changed'));
$hub->safe_psql('closed', q(SELECT pg_terminate_backend(pid) FROM syncext.listener));
wait_for($a, 'c', q(SELECT last_error LIKE '%password authentication failed for user "guest"%' AND next_attempt > clock_timestamp() AND state = 'retrying' FROM syncext.link_status),
	'a wrong password shows in link_status, with the next attempt');
$a->safe_psql('c', q(ALTER USER MAPPING FOR CURRENT_USER SERVER hub OPTIONS (SET password 'changed')));
wait_for($a, 'c', q(SELECT failures = 0 AND next_attempt IS NULL FROM syncext.link_status), 'and goes with the right one');

# ---------- a hub that hangs ----------

my $slow = new_node('slow');
make_hub($slow, 'hub', 'S');
make_spoke($a, 's', 'S', $slow, 'hub');
wait_for($a, 's', $runs, 'a second link, to another hub');
my @frozen = split /\n/, $slow->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity));
push @frozen, PostgreSQL::Test::Utils::slurp_file($slow->data_dir . '/postmaster.pid') =~ /^(\d+)/;
kill 'STOP', @frozen;
$a->safe_psql('s', q(INSERT INTO customer VALUES ('S1', 's')));
edit_arrives(@both, 'while another link hangs');
wait_for($a, 's', q(SELECT last_error ~ 'no answer|in .* ms' FROM syncext.link_status), 'the one that hangs says so');
$pid = worker_pid($a, 's');
$a->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_for($a, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid", 'its worker can be ended while it waits for the network');
kill 'CONT', @frozen;
wait_for($slow, 'hub', q(SELECT sync_record('customer', 'S1') IS NOT NULL), 'and goes on when the hub does');

# ---------- the end ----------

$b->safe_psql('b', q(SELECT sync_unlink('up')));
wait_for($b, 'b', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'syncext link'), 'an unlinked one has no worker');

# a database with a worker in it can be copied, renamed and dropped
$a->safe_psql('postgres', 'ALTER DATABASE s RENAME TO renamed');
ok($a->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'renamed' AND backend_type = 'syncext link')),
	'a database can be renamed; its worker comes back');
$a->safe_psql('postgres', 'DROP DATABASE renamed');
is($a->safe_psql('postgres', q(SELECT count(*) FROM pg_database WHERE datname = 'renamed')), '0', 'a database with a worker can be dropped');
$a->safe_psql('postgres', 'DROP DATABASE c WITH (FORCE)');
ok($a->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type LIKE 'syncext%')),
	'and no process is left but that of the other link');
$hub->safe_psql('postgres', 'DROP DATABASE closed');
pass('a hub\'s database with a notifier in it can be dropped');

$a->safe_psql('a', 'DROP EXTENSION syncext CASCADE');
ok($a->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'syncext%')),
	'the worker goes with the extension');
is($a->safe_psql('postgres', 'SELECT 1'), '1', 'and the server is well');

# No process crashed but the one that was killed.
my $log = PostgreSQL::Test::Utils::slurp_file($a->logfile);
my @signals = $log =~ /was terminated by signal (\d+)/g;
is("@signals", '9', 'no other process was ended by a signal');

$_->stop for $a, $b, $hub, $slow;
done_testing();
