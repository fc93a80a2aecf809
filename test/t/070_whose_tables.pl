# 070_whose_tables.pl
#	  A schema "syncext" that isn't the extension's: nothing of it is read, run
#	  or written to, whoever restarts the server or commits what was prepared.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q(
shared_preload_libraries = 'syncext'
max_prepared_transactions = 5
max_worker_processes = 20
log_min_messages = debug1
restart_after_crash = on
));
$node->start;
$node->safe_psql('postgres', q(
	CREATE ROLE mallory LOGIN;
	CREATE DATABASE hub;
	CREATE DATABASE fake OWNER mallory;
	CREATE DATABASE wide OWNER mallory;
	CREATE DATABASE narrow OWNER mallory;
));
$node->safe_psql('hub', q(CREATE EXTENSION syncext; SELECT sync_add_source('A', 1)));

sub as_mallory
{
	my ($database, $sql) = @_;
	return $node->safe_psql($database, $sql, extra_params => [ '-U', 'mallory' ]);
}

# A parallel worker does some work: what was to start before it has begun.
sub await_started
{
	$node->safe_psql('postgres', q(
		SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
		SELECT count(*) FROM pg_class, pg_attribute));
}

# The launcher of links has been everywhere.
sub await_launcher
{
	my ($from) = @_;

	$node->wait_for_log(qr/starting background worker process "syncext launcher"/, $from);
	$node->poll_query_until('postgres', q(
		SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type LIKE 'syncext %'))) or die 'launcher';
	await_started();
}

sub commit_prepared
{
	my ($database) = @_;

	as_mallory($database, q(
		BEGIN; CREATE TABLE t(); PREPARE TRANSACTION 'x';
		COMMIT PREPARED 'x'; DROP TABLE t));
	await_started();
}

sub unharmed
{
	my ($name, $from) = @_;
	my $log = slurp_file($node->logfile, $from);

	unlike($log, qr/syncext link|syncext notifier/, "$name: no worker starts");
	unlike($log, qr/terminated by signal|PANIC/, "$name: nothing crashes");
	is($node->safe_psql('postgres', q(SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory')),
		'f', "$name: nobody gets rights");
}

# ---------- tables like ours, with a trigger that waits for the commit ----------

my $tables = $node->safe_psql('hub', q(
	SELECT string_agg(format('CREATE TABLE syncext.%I (%s);', c.relname,
	                         (SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
	                          FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0)), ' ')
	FROM pg_class c WHERE relnamespace = 'syncext'::regnamespace AND relkind IN ('r', 'p')));
as_mallory('fake', qq(
	CREATE SCHEMA syncext;
	$tables
	INSERT INTO syncext.feed_state (only_row, current_log, switched_at, incarnation) VALUES (true, 0, now(), 1);
	INSERT INTO syncext.link (name, server, source, owner, enabled, added_at) VALUES ('evil', 's', 'A', 'postgres', true, now());
	CREATE FUNCTION public.evil() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN ALTER ROLE mallory SUPERUSER; RETURN NULL; END \$\$;
	CREATE CONSTRAINT TRIGGER evil AFTER UPDATE ON syncext.link DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION public.evil();
));
my $from = -s $node->logfile;
commit_prepared('fake');
unharmed('COMMIT PREPARED', $from);

# ---------- tables of another shape ----------

my $columns = join(', ', 'name text, server text, source text, owner oid, enabled bool, hub uuid, worker_pid int',
	map { "c$_ bigint" } 1 .. 900);
as_mallory('wide', qq(
	CREATE SCHEMA syncext; CREATE TABLE syncext.link ($columns);
	INSERT INTO syncext.link (name, server, source, owner, enabled, @{[ join(', ', map { "c$_" } 1 .. 900) ]})
	SELECT 'evil', 's', 'A', 10, true, @{[ join(', ', map { $_ } 1 .. 900) ]};
	CREATE TABLE syncext.source (name text)));
as_mallory('narrow', q(
	CREATE SCHEMA syncext;
	CREATE TABLE syncext.link (name bigint, server bigint, source bigint, owner bigint, enabled bigint, hub bigint, worker_pid bigint);
	INSERT INTO syncext.link VALUES (4711, 4711, 4711, 10, 1, 4711, 4711);
	CREATE TABLE syncext.source (name bigint)));
$from = -s $node->logfile;
commit_prepared($_) for qw(wide narrow);
unharmed('COMMIT PREPARED beside tables of another shape', $from);

$from = -s $node->logfile;
$node->restart;
await_launcher($from);
like(slurp_file($node->logfile, $from), qr/starting background worker process "syncext starter"/, 'the launcher has looked');
unharmed('a restart', $from);

# ---------- the extension is there, its schema another one's ----------

$node->safe_psql('hub', q(
	GRANT CREATE ON DATABASE hub TO mallory;
	ALTER SCHEMA syncext RENAME TO renamed));
as_mallory('hub', qq(CREATE SCHEMA syncext; $tables
	INSERT INTO syncext.feed_state (only_row, current_log, switched_at, incarnation) VALUES (true, 0, now(), 1);
	CREATE FUNCTION public.evil() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN ALTER ROLE mallory SUPERUSER; RETURN NULL; END \$\$;
	CREATE TRIGGER evil BEFORE INSERT OR UPDATE OR DELETE ON syncext.feed_state FOR EACH STATEMENT EXECUTE FUNCTION public.evil();
	CREATE TRIGGER evil BEFORE INSERT OR UPDATE OR DELETE ON syncext.listener FOR EACH STATEMENT EXECUTE FUNCTION public.evil()
) =~ s/CREATE FUNCTION public.evil/CREATE FUNCTION syncext.evil/r =~ s/FUNCTION public.evil/FUNCTION syncext.evil/gr);
for my $call (q(SELECT sync_apply('{"source": "A", "externalId": "1", "version": 1, "a": 1}')),
	'CALL sync_maintain()', q(SELECT renamed.hub_listen('A')), q(SELECT * FROM sync_pull('A')))
{
	my ($rc, $out, $err) = $node->psql('hub', $call);

	like($err, qr/its schema is not its own/, "$call is refused");
}
is($node->safe_psql('postgres', q(SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory')),
	'f', 'a schema of our schema\'s name: nobody gets rights');
$node->safe_psql('hub', 'DROP SCHEMA syncext CASCADE; ALTER SCHEMA renamed RENAME TO syncext');
like($node->safe_psql('hub', q(SELECT sync_apply('{"source": "A", "externalId": "1", "version": 1, "a": 1}'))),
	qr/"status": 200/, 'with its schema back the hub works');

$node->stop;
done_testing();
