# 067_link_pooler.pl
#	  A link through PgBouncer: refused where sessions at the hub are shared between
#	  transactions, and nothing of ours is left in them; in order where they are not.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
plan skip_all => 'PgBouncer is not installed' unless $pgbouncer;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nsyncext.link_interval = 1s\n");
$node->start;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $user = $node->safe_psql('postgres', 'SELECT current_user');
my ($host, $server_port) = ($node->host, $node->port);

open(my $ini, '>', "$dir/pgbouncer.ini") or die;
print $ini <<"END";
[databases]
by_transaction = host=$host port=$server_port dbname=hub user=$user pool_mode=transaction pool_size=2
busy = host=$host port=$server_port dbname=hub user=$user pool_mode=transaction pool_size=3
by_session = host=$host port=$server_port dbname=hub user=$user pool_mode=session pool_size=5
only_session = host=$host port=$server_port dbname=hub user=$user pool_mode=session pool_size=1
[pgbouncer]
listen_addr =
listen_port = $port
unix_socket_dir = $dir
auth_type = any
logfile = $dir/log
pidfile = $dir/pid
END
close($ini);
system($pgbouncer, '-q', '-d', "$dir/pgbouncer.ini") == 0 or die 'PgBouncer did not start';

END
{
	my $status = $?;
	if (defined $dir && -s "$dir/pid")
	{
		chomp(my $pid = slurp_file("$dir/pid"));
		kill 'INT', $pid;
	}
	$? = $status;
}

sub sql
{
	my ($name, $sql) = @_;
	return $node->safe_psql($name, $sql);
}

# Through the pooler, as another application.
sub pooled
{
	my ($database, $sql) = @_;
	return $node->safe_psql('postgres', $sql, connstr => "host=$dir port=$port dbname=$database");
}

sub said
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('spoke', $sql);
	return $rc == 0 ? "no error: $out" : $err;
}

sql('postgres', "CREATE DATABASE $_") for qw(hub spoke);
sql('hub', "CREATE EXTENSION syncext; SELECT sync_add_source('Shop'), sync_add_entity('customer')");
sql('spoke', "CREATE EXTENSION syncext; CREATE EXTENSION postgres_fdw; CREATE TABLE customer (id text PRIMARY KEY, name text);
	SELECT sync_add_source('Shop'), sync_add_entity('customer');
	CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$dir', port '$port', dbname 'by_transaction');
	CREATE USER MAPPING FOR CURRENT_USER SERVER hub OPTIONS (user '$user')");

my $settings = q(SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings
	WHERE name IN ('search_path', 'statement_timeout', 'lock_timeout', 'idle_session_timeout', 'TimeZone', 'extra_float_digits'));
my $before = pooled('by_transaction', $settings);
for my $round (1 .. 3)
{
	like(said("SELECT sync_link('up', 'hub', 'Shop')"),
		qr/link "up" leads through a connection pooler that shares sessions between transactions.*HINT:  Let the pooler pool by session.*or name the hub's own host and port/s,
		'a pooler that pools by transaction is refused, with the ways');
	is(pooled('by_transaction', $settings), $before, '... and other applications find their sessions as they were');
}
is(pooled('by_transaction', 'SELECT count(*) FROM pg_prepared_statements'), '0', '... without a statement of ours');

# Others take and return the pool's sessions all the time.
my $script = "$dir/others.sql";
append_to_file($script, "BEGIN; SELECT pg_sleep(0.002); COMMIT;\n");
my $others = IPC::Run::start([ 'pgbench', '-n', '-c', '4', '-T', '60', '-f', $script, "host=$dir port=$port dbname=busy" ],
	'>', '/dev/null', '2>', '/dev/null');
ok($node->poll_query_until('hub', "SELECT count(*) > 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep%'"), 'the pool is busy');
sql('spoke', "ALTER SERVER hub OPTIONS (SET dbname 'busy')");
like(said("SELECT sync_link('up', 'hub', 'Shop')"), qr/leads through a connection pooler that (may share|shares) sessions|got no answer/,
	'a busy pool by transaction is refused') for 1 .. 5;
$others->kill_kill;
is(pooled('busy', $settings), $before, '... and its sessions are as they were');

# A pool that has but our session, as a second one shows that waits for it.
sql('spoke', "ALTER SERVER hub OPTIONS (SET dbname 'only_session')");
is(said("SELECT sync_link('up', 'hub', 'Shop'); SELECT sync_unlink('up')"), "no error: \n", 'the only session of a pool by session will do');

sql('spoke', "ALTER SERVER hub OPTIONS (SET dbname 'by_session'); SELECT sync_link('up', 'hub', 'Shop'); SELECT sync_attach('customer', 'Shop', 'customer');
	INSERT INTO customer VALUES ('C1', 'Ann')");
ok($node->poll_query_until('hub', q(SELECT fields->>'name' = 'Ann' FROM syncext.canonical)), 'a pooler that pools by session will do');
sql('spoke', "ALTER SERVER hub OPTIONS (SET dbname 'by_transaction')");
ok($node->poll_query_until('spoke', "SELECT last_error LIKE '0A000: link \"up\" leads through a connection pooler%' FROM syncext.link_status"),
	'a link that is led through the other one says so');
is(pooled('by_transaction', $settings), $before, '... and leaves nothing behind there');
sql('spoke', "SELECT sync_unlink('up')");
is(pooled('by_session', $settings), $before, 'nor where it was served');

done_testing();
