# 066_link_bytes.pl
#	  Large records over a link: batches are cut by bytes from the first, both ways, so
#	  that neither the worker nor the hub needs more memory than a few batches; and where
#	  there is too little even for that, the next ones are smaller.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'there is no /proc' unless -r '/proc/self/status';
# which keeps what was freed, and ends a process that is short of memory
plan skip_all => 'the memory is that of AddressSanitizer, too' if ($ENV{LD_PRELOAD} // '') =~ /asan/;

my $rows = 70;
my $bytes = 900_000;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'END');
fsync = off
full_page_writes = off
shared_buffers = 16MB
max_wal_size = 1GB
log_statement = none
log_parameter_max_length = 100
log_parameter_max_length_on_error = 0
syncext.link_interval = 1s
END
$node->start;

sub sql
{
	my ($name, $sql) = @_;
	return $node->safe_psql($name, $sql);
}

# The most memory that a process has had, in MB: that it used, or (VmPeak) had room for.
sub peak
{
	my ($pid, $of) = @_;
	open(my $status, '<', "/proc/$pid/status") or return 'it is gone';
	my ($kb) = join('', <$status>) =~ /^$of:\s*(\d+) kB/m;
	return int($kb / 1024);
}

# The processes of both sides.
sub sides
{
	return {
		'the worker' => sql('spoke', 'SELECT pid FROM syncext.link_status'),
		'its session at the hub' => sql('hub', "SELECT pid FROM pg_stat_activity WHERE datname = 'hub' AND application_name = 'syncext up'") };
}

# The most that one of them had room for.
sub most
{
	my ($most) = sort { $b <=> $a } map { peak($_, 'VmPeak') } values %{ sides() };
	return $most;
}

sub peaks_are_bounded
{
	my ($what) = @_;
	my $sides = sides();

	for my $who (sort keys %$sides)
	{
		my $peak = peak($sides->{$who}, 'VmHWM');
		note("$what: $who $peak MB");
		cmp_ok($peak, '<', 100, "$what: less than 100 MB were enough for $who");
	}
}

sql('postgres', "CREATE DATABASE $_") for qw(hub spoke);
sql('hub', q(CREATE EXTENSION syncext; SELECT sync_add_source('Shop'), sync_add_source('Office'), sync_add_entity('doc')));
sql('spoke', "CREATE EXTENSION syncext; CREATE EXTENSION postgres_fdw; CREATE TABLE doc (id text PRIMARY KEY, body text);
	SELECT sync_add_source('Shop'), sync_add_entity('doc');
	CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '" . $node->host . "', port '" . $node->port . "', dbname 'hub');
	CREATE USER MAPPING FOR CURRENT_USER SERVER hub;
	SELECT sync_link('up', 'hub', 'Shop'); SELECT sync_attach('doc', 'Shop', 'doc')");
ok($node->poll_query_until('spoke', "SELECT state = 'waiting' FROM syncext.link_status"), 'the link works');

# ---------- both ways ----------

sql('hub', "SELECT count(sync_apply(jsonb_build_object('source', 'Office', 'entity', 'doc', 'externalId', n::text, 'base', 0, 'fields', jsonb_build_object('body', repeat('y', $bytes)))))
	FROM generate_series(1001, 1000 + $rows) n");
ok($node->poll_query_until('spoke', "SELECT count(*) = $rows FROM doc WHERE body LIKE 'y%'"), 'what comes at once arrives');
peaks_are_bounded('got');
my $pull_peak = most();

sql('spoke', "INSERT INTO doc SELECT n, repeat('x', $bytes) FROM generate_series(1, $rows) n");
ok($node->poll_query_until('hub', "SELECT count(*) = $rows FROM syncext.canonical WHERE entity = 'doc'"), 'and what is written');
peaks_are_bounded('sent');

# ---------- compared ----------

# as if the hub had gone back in time, to before all of it
my $worker = sql('spoke', 'SELECT pid FROM syncext.link_status');
sql('spoke', "UPDATE syncext.peer SET resync_since = '2000-01-02'");
sql('hub', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'syncext up'");
ok($node->poll_query_until('spoke', "SELECT resync_since IS NULL FROM syncext.peer"), 'all of it is compared');
is(sql('spoke', 'SELECT pid FROM syncext.link_status'), $worker, '... by the same worker');
ok($node->poll_query_until('hub', "SELECT count(*) = 0 FROM syncext.outbound_change WHERE target = 'Shop'"), '... and comes again');
peaks_are_bounded('compared');

# Another spoke may ask for as many records as a batch may have, whatever their size.
my $compared = sql('hub', q(
	SELECT sync_add_source('Depot');
	SELECT FROM syncext.hub_hello('Depot', jsonb_build_object('claim', true, 'identity', syncext.identity() || '{"mark": "22222222-2222-2222-2222-222222222222"}'));
	SELECT count(*) || ' records' FROM syncext.hub_compare('Depot', 'doc', (SELECT jsonb_object_agg(external_id, -1) FROM syncext.canonical), 'epoch', false);
	SELECT 'memory ' || (regexp_match(pg_read_file('/proc/self/status'), 'VmHWM:\s+(\d+)'))[1]::int / 1024;
	SELECT sync_drop_source('Depot')));
like($compared, qr/^@{[2 * $rows]} records$/m, 'all records are compared at once');
my ($memory) = $compared =~ /^memory (\d+)$/m;
note("compared at once: $memory MB");
cmp_ok($memory, '<', 128, '... in less memory than all of them take');

# ---------- too little memory ----------

# Where batches of 8 MB just fit on both sides, those of 32 MB don't.
sub limit_memory
{
	my ($peak) = @_;
	my $limit = 1024 * (20 + $peak);

	$node->stop;
	system('bash', '-c', "ulimit -v $limit && pg_ctl -w -D '" . $node->data_dir . "' -l '" . $node->logfile . "' -o '--cluster-name=main' start >/dev/null") == 0
		or BAIL_OUT('pg_ctl failed');
	$node->_update_pid(1);
	sql('spoke', 'UPDATE syncext.link_state SET batch_bytes = NULL; UPDATE syncext.link SET enabled = true');
}

my $push_peak = most();
my $too_little = qr/exchange of link "up" failed: (?:53200: .* \((?:here|at the hub)\)|08006: .*)$/m;
my $log = -s $node->logfile;
$node->append_conf('postgresql.conf', 'syncext.link_batch_bytes = 32MB');
sql('spoke', "UPDATE syncext.link SET enabled = false");
sql('spoke', "UPDATE doc SET body = repeat('z', $bytes)");
limit_memory($push_peak);
ok($node->poll_query_until('hub', "SELECT count(*) = 2 * $rows FROM syncext.canonical WHERE fields->>'body' LIKE 'z%'"),
	'with too little memory for a batch the next one is smaller, until it goes through');
like(slurp_file($node->logfile, $log), $too_little, "... and there was too little ($push_peak MB and 20)");

ok($node->poll_query_until('spoke', q(SELECT unanswered = 0 AND state = 'waiting' FROM syncext.link_status)), 'all of it is answered');
$log = -s $node->logfile;
sql('spoke', "UPDATE syncext.link SET enabled = false");
$node->restart;
sql('hub', "SELECT count(sync_apply(jsonb_build_object('source', 'Office', 'entity', 'doc', 'externalId', external_id, 'base', row_version, 'fields', jsonb_build_object('body', repeat('w', $bytes)))))
	FROM syncext.canonical");
limit_memory($pull_peak);
ok($node->poll_query_until('spoke', "SELECT count(*) = 2 * $rows FROM doc WHERE body LIKE 'w%'"), 'and so it is with what comes');
like(slurp_file($node->logfile, $log), $too_little, "... for which there was too little, too ($pull_peak MB and 20)");

done_testing();
