# 070_lying_hub.pl
#	  What the other side of a link says is input: a hub that answers anything
#	  else than it was asked costs its spoke an error, and never a crash, memory, a
#	  lock, or a session that nobody can cancel; and so does a spoke at its hub.
#
# LYING_SEED repeats a run, LYING_SECONDS lets it look for longer.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use LyingHub;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{LYING_SECONDS} || 6;
my $seed = $ENV{LYING_SEED} || int(time * 1000) % 1_000_000_000;
note("LYING_SECONDS=$seconds LYING_SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('both');
$node->init;
$node->append_conf('postgresql.conf', <<'END');
shared_buffers = 16MB
max_connections = 30
syncext.link_timeout = 1
syncext.retry_base = 100
syncext.retry_max = 1s
END
$node->start;

my $liar = LyingHub->new(PostgreSQL::Test::Utils::tempdir_short(), 6543);
END { local $?; $liar->stop if $liar }

sub sql
{
	my ($database, $sql) = @_;
	return $node->safe_psql($database, $sql);
}

for my $database (qw(spoke hub))
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	sql($database, "CREATE EXTENSION syncext; SELECT sync_add_entity('item');");
}
sql('spoke', qq(
	CREATE EXTENSION postgres_fdw;
	CREATE TABLE item (id text PRIMARY KEY, v text);
	SELECT sync_add_source('S');
	CREATE SERVER liar FOREIGN DATA WRAPPER postgres_fdw
		OPTIONS (host '$liar->{dir}', port '$liar->{port}', dbname 'hub', sslmode 'disable', gssencmode 'disable');
	CREATE USER MAPPING FOR CURRENT_USER SERVER liar OPTIONS (user 'any');
	SELECT sync_attach('item', 'S', 'item');
	BEGIN;
	SELECT sync_link('up', 'liar', 'S');
	-- exchanges are made by hand here
	UPDATE syncext.link SET enabled = false;
	COMMIT;
));

# Exchange once in a session of its own.  Returns the SQLSTATE, 00000 for none, and
# how much memory the session has had at most, in MB.
my $peak = 0;
sub exchange
{
	my ($timeout) = @_;
	my ($rc, $out, $err) = $node->psql('spoke', 'SET syncext.link_timeout = ' . ($timeout // 1) . q(;
		\set VERBOSITY sqlstate
		CALL sync_exchange('up');
		\unset ON_ERROR_STOP
		SELECT 'memory ' || (regexp_match(pg_read_file('/proc/self/status'), 'VmHWM:\s+(\d+)'))[1]::int / 1024;
	), on_error_stop => 0, timeout => 60, timed_out => \my $timed_out);

	return 'it never ended' if $timed_out;
	$peak = $1 if $out =~ /^memory (\d+)$/m && $1 > $peak;
	return $err =~ /(?:ERROR|FATAL):\s+(\w{5})/ ? $1 : $err eq '' ? '00000' : $err;
}

sub is_quiet
{
	my ($what) = @_;
	is(sql('spoke', "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
		WHERE d.datname IN ('spoke', 'hub') AND pid <> pg_backend_pid() AND NOT EXISTS
			(SELECT FROM pg_stat_activity a WHERE a.pid = l.pid AND (a.backend_type LIKE 'autovacuum%' OR a.backend_type LIKE 'syncext%'))"), 0, "$what: no lock is left behind");
	unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|was terminated by signal|write past chunk|0x7f7f7f/, "$what: nothing has crashed");
}

is(exchange(60), '00000', 'a hub that tells the truth is believed');
is(sql('spoke', 'SELECT count(*) FROM item'), 3, 'and its records are here');

# ---------- each lie at each place ----------

# What can't be told from an error of the hub's own, which keeps its code.
my %own = map { $_ => 1 } qw(XX000 57014 57P01 40001 22P05 53200 55000 0A000);
my %met;

sub lie
{
	my ($place, $number, $lie) = @_;

	sql('spoke', "INSERT INTO item VALUES ('$number', 'x') ON CONFLICT (id) DO UPDATE SET v = item.v || 'y'")
		if $number % 3 == 0;
	$liar->plan($place, $number, $lie);
	my $state = exchange();
	$met{$state}++;
	return $state;
}

my @wrong;
for my $lie (grep { !/^endless|^hang/ } LyingHub::lies())
{
	for my $place (3, 5)
	{
		my $state = lie($place, 3, $lie);
		push @wrong, "$lie at $place: $state" unless $state =~ /^(?:08...|00000)$/ || $own{$state};
	}
}
is("@wrong", '', 'what breaks the protocol is an error of the connection');

@wrong = ();
for my $lie (grep { /^endless|^hang/ } LyingHub::lies())
{
	for my $place ($lie eq 'hang' ? (-1, 5) : 5)
	{
		my $state = lie($place, 3, $lie);
		push @wrong, "$lie at $place: $state" unless $state =~ /^08...$/;
	}
}
is("@wrong", '', 'a hub that floods or hangs costs an error of the connection');
is_quiet('each lie');
SKIP:
{
	skip 'no process tells of its memory here', 1 if $peak == 0;
	# which keeps what was freed, and has a map of all memory
	skip 'the memory is that of AddressSanitizer, too', 1 if ($ENV{LD_PRELOAD} // '') =~ /asan/;
	# shared memory counts, and libpq doubles its buffer: what a flood had would be gigabytes
	cmp_ok($peak, '<', 512, 'and no memory');
}

# One read takes all that there is room for, where the hub sends as fast as we read: the
# room that libpq makes for a message is looked at before anything is read into it.
SKIP:
{
	# AddressSanitizer's functions, in the place of the C library's, tell nothing of memory
	skip 'the C library does not tell of its memory', 2 if ($ENV{LD_PRELOAD} // '') =~ /asan/;
	$liar->plan(5, 3, 'endless_message');
	cmp_ok($liar->sent(sub { is(exchange(3600), '08P01', 'a message that is announced to be too large is an error') }), '<', 500_000,
		'at once: no more of it is read');
}

# ---------- at random ----------

srand($seed);
@wrong = ();
my $lies = 0;
for (my $end = time + $seconds; time < $end && !@wrong; $lies++)
{
	my $number = int rand 1_000_000_000;
	my $place = -1 + int rand 9;
	my $state = lie($place, $number);
	push @wrong, "seed $number at $place: $state" unless $state =~ /^(?:08...|00000)$/ || $own{$state};
}
is("@wrong", '', 'neither does anything else that a hub may say');
is_quiet('lies at random');
note("in all: $lies lies, " . join(', ', map { "$_ $met{$_}" } sort keys %met) . ", $peak MB");

# ---------- cancel and terminate ----------

for my $how (qw(pg_cancel_backend pg_terminate_backend))
{
	for my $place (-1, 5)
	{
		$liar->plan($place, 1, 'hang');
		my $session = $node->background_psql('spoke', on_error_stop => 0);
		$session->query_until(qr/begun/, "SET application_name = 'waits'; SET syncext.link_timeout = 3600;\n\\echo begun\nCALL sync_exchange('up');\n");
		ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'waits' AND wait_event_type = 'Extension'"),
			"an exchange waits for a hub that hangs at place $place");
		sql('postgres', "SELECT $how(pid) FROM pg_stat_activity WHERE application_name = 'waits'");
		ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'waits' AND state = 'active'"),
			"$how ends that");
		eval { $session->quit };
	}
}
is_quiet('sessions that were cancelled');

# ---------- nobody else waits for the hub ----------

sql('spoke', "CREATE TABLE other (id text PRIMARY KEY); SELECT sync_add_source('O'), sync_add_entity('other');
	SELECT sync_attach('other', 'O', 'other');");
for my $place (3, 4)
{
	$liar->plan($place, 1, 'hang');
	my $session = $node->background_psql('spoke', on_error_stop => 0);
	$session->query_until(qr/begun/, "SET application_name = 'waits'; SET syncext.link_timeout = 3600;\n\\echo begun\nSELECT sync_link('more', 'liar', 'O');\n");
	ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'waits' AND wait_event_type = 'Extension'"),
		"sync_link waits for a hub that hangs at place $place");
	my ($rc, undef, $err) = $node->psql('spoke', "SET lock_timeout = '5s'; BEGIN; INSERT INTO other VALUES ('$place'); ROLLBACK; INSERT INTO item VALUES ('w$place');
		SELECT sync_add_source('P$place'); UPDATE syncext.link SET enabled = false;");
	is($err, '', 'and keeps nobody waiting, neither writers nor who changes links');
	sql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'waits'");
	eval { $session->quit };
}

# ---------- a worker ----------

$liar->plan(4, 7, 'no_row');
sql('spoke', "UPDATE syncext.link SET enabled = true");
ok($node->poll_query_until('spoke', "SELECT failures > 2 AND state <> 'stopped' FROM syncext.link_status"), 'the worker of a link goes on trying');
like(sql('spoke', "SELECT c FROM sync_check() c"), qr/link up.*breaks the protocol/, 'and sync_check tells why');
$liar->tell_truth;
sql('spoke', "UPDATE item SET v = 'heard' WHERE id = 'h1'");
ok($node->poll_query_until('spoke', "SELECT failures = 0 AND unanswered = 0 FROM syncext.link_status"), 'a hub that mends its ways is served again');
sql('spoke', "SELECT sync_unlink('up')");

# ---------- functions that were replaced, and the hub mended ----------

sql('hub', "SELECT sync_add_source('S')");
my ($host, $port) = ($node->host, $node->port);
sql('spoke', qq(
	CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'hub');
	CREATE USER MAPPING FOR CURRENT_USER SERVER hub;
));
sql('hub', q(ALTER FUNCTION syncext.hub_hello RENAME TO hello_of_ours;
	CREATE FUNCTION syncext.hub_hello(text, jsonb) RETURNS SETOF jsonb LANGUAGE sql AS 'SELECT NULL::jsonb WHERE false'));
sql('spoke', q(
	CREATE ROLE plain LOGIN;
	GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO plain;
	GRANT EXECUTE ON FUNCTION sync_link TO plain;
	SELECT sync_add_source('Plain', NULL, 'plain');
	CREATE SERVER files FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'localhost', sslrootcert '/etc/shadow');
	ALTER SERVER files OWNER TO plain;
	CREATE USER MAPPING FOR plain SERVER files OPTIONS (user 'x', password 'x');
));
my (undef, undef, $err) = $node->psql('spoke', "SET ROLE plain; SELECT sync_link('files', 'files', 'Plain')");
like($err, qr/link "files" cannot use option "sslrootcert"/, 'a file that a plain role names is not looked at');
(undef, undef, $err) = $node->psql('spoke', "SELECT sync_link('up', 'hub', 'S')");
like($err, qr/the hub of link "up" breaks the protocol: its answer to syncext.hub_hello has no row/, 'a function that returns no row makes no link');
like($err, qr/HINT:.*hub_hello/, 'and the hint names it');
sql('hub', q(DROP FUNCTION syncext.hub_hello; ALTER FUNCTION syncext.hello_of_ours RENAME TO hub_hello));
sql('spoke', "BEGIN; SELECT sync_link('up', 'hub', 'S'); UPDATE syncext.link SET enabled = false; COMMIT;");
sql('spoke', "INSERT INTO item VALUES ('good', 'x')");
is(exchange(60), '00000', 'a good hub is exchanged with');
is(sql('hub', "SELECT fields->>'v' FROM syncext.canonical WHERE external_id = 'good'"), 'x', 'and has what was edited');

sql('hub', "SELECT sync_add_source('Shop'); SELECT count(sync_apply(jsonb_build_object('source', 'Shop', 'entity', 'item', 'externalId', 'many' || i, 'version', 1,
	'fields', '{\"v\": \"x\"}'::jsonb))) FROM generate_series(1, 30) i");
$node->psql('spoke', "SET syncext.link_batch = 5; CALL sync_exchange('up')");
is(sql('spoke', "SELECT count(*) FROM item WHERE id LIKE 'many%'"), 30, 'one exchange brings all that it has, in however many batches');

# ---------- what a good hub tells beside the fields ----------

sql('hub', q(SELECT sync_add_entity('stamped'), sync_add_source('Office'); SELECT sync_apply('{"source": "Office", "entity": "stamped", "externalId": "1",
	"version": 1, "updatedAt": "2024-05-06T07:08:09.123456Z", "fields": {"v": "a"}}')));
sql('spoke', q(SELECT sync_add_entity('stamped'); CREATE TABLE stamped (id text PRIMARY KEY, v text CHECK (v <> 'bad'), edited timestamptz NOT NULL);
	SELECT sync_attach('stamped', 'S', 'stamped', updated_column => 'edited')));
is(exchange(60), '00000', 'a table with an updated_column is exchanged');
is(sql('spoke', "SELECT edited AT TIME ZONE 'UTC' FROM stamped"), '2024-05-06 07:08:09.123456', 'and has the time of the record');
is(sql('spoke', 'SELECT hub_behind FROM syncext.link_status'), 0, 'the hub has nothing more for us');
sql('hub', q(SELECT sync_apply('{"source": "Office", "entity": "stamped", "externalId": "2", "version": 1, "fields": {"v": "bad"}}')));
exchange(60);
is(sql('spoke', 'SELECT hub_behind FROM syncext.link_status'), 1, 'but a record that the table refuses');
exchange(60);
is(sql('spoke', 'SELECT hub_behind FROM syncext.link_status'), 1, 'which it still has');
sql('hub', q(SELECT sync_apply('{"source": "Office", "entity": "stamped", "externalId": "2", "version": 2, "updatedAt": "2024-05-06T07:08:09Z", "fields": {"v": "good"}}')));
for (1 .. 50)
{
	exchange(60);
	last if sql('spoke', 'SELECT hub_behind FROM syncext.link_status') == 0;
	sleep 0.1;
}
is(sql('spoke', "SELECT hub_behind || v FROM syncext.link_status, stamped WHERE id = '2'"), '0good', 'until it can be placed');
$node->psql('postgres', "ALTER DATABASE hub ALLOW_CONNECTIONS false");
exchange(60);
is(sql('spoke', 'SELECT hub_behind FROM syncext.link_status'), '', 'of a hub that is out of reach nobody knows');
$node->psql('postgres', "ALTER DATABASE hub ALLOW_CONNECTIONS true");

# ---------- a spoke that tells lies ----------

my @values = ("''", "'S'", "'Office'", "'nobody'", 'NULL', "repeat('x', 300)", "'11111111-2222-3333-4444-555555555555/1/1'");
my @documents = ("'[]'", "'{}'", "'null'", "'7'", "'[null]'", "'[[[]]]'", "'[{}, 7, \"x\"]'", "'\"x\"'", 'NULL',
	q('[{"source": "S", "entity": "item", "externalId": "l", "base": 0, "fields": {"v": 1}}]'),
	q('[{"source": "Office", "entity": "item", "externalId": "l", "base": 0, "fields": {"v": 1}}]'),
	q('[{"source": "S", "entity": "item", "externalId": "l", "base": 4611686018427387903, "fields": {"v": 1}}]'),
	q('[{"source": "S", "entity": "item", "externalId": "l", "base": 1e300, "fields": {"v": 1}}]'),
	q('[{"entity": "item", "externalId": "l", "error": "x", "busy": true}]'), q('[{"externalId": 7}]'), q('[{"externalId": "l", "busy": null}]'),
	q('{"spoke": null}'), q('{"spoke": "x", "claim": true}'), q('{"spoke": "11111111-2222-3333-4444-555555555555", "claim": "maybe"}'), q('{"spoke": [], "claim": {}}'));
my @numbers = ('0', '-1', '1', '2147483647', '-2147483648', 'NULL');

sub one_of { return $_[ int rand @_ ] }

my $mark = sql('spoke', 'SELECT mark FROM syncext.feed_origin LIMIT 1');
push @values, map { "'$mark/1/$_'" } 1 .. 3;

my $calls = '';
for my $i (1 .. 600)
{
	my $source = one_of(@values, ("'S'") x 5);
	$calls .= one_of(
		"SELECT sync_push($source, " . one_of(@values) . ', ' . one_of(@documents) . ')',
		"SELECT count(*) FROM syncext.hub_pull($source, " . one_of(@numbers) . ')',
		"SELECT syncext.hub_ack($source, " . one_of(@numbers, '9223372036854775807') . ', ' . one_of(@documents) . ')',
		"SELECT syncext.hub_hello($source, " . one_of(@documents) . ')',
		"SELECT syncext.hub_listen($source)",
		"SELECT syncext.hub_behind($source)") . ";\n";
}
my (undef, undef, $said) = $node->psql('hub', "\\set VERBOSITY sqlstate\n$calls", on_error_stop => 0);
unlike($said, qr/XX\d|server closed|08006/, 'whatever a spoke says is answered, or refused for what it is');
is_quiet('lies of spokes');

sql('hub', join '', map { "SELECT syncext.hub_listen('S');\n" } 1 .. 200);
unlike(slurp_file($node->logfile), qr/could not be started/, 'who listens again and again starts no process each time');

my $push = q('[{"source": "S", "entity": "item", "externalId": "p%d", "base": 0, "fields": {"v": 1}}]');
sql('hub', join '', map { "SELECT sync_push('S', '$mark/1/777', " . sprintf($push, $_) . ");\n" } 1 .. 50);
is(sql('hub', "SELECT jsonb_array_length(answers) FROM syncext.push WHERE source = 'S'"), 50, 'all answers to a batch that comes in another form each time are kept');
sql('hub', "SELECT sync_push('S', '$mark/1/778', " . sprintf($push, 1) . ')');
is(sql('hub', "SELECT jsonb_array_length(answers) FROM syncext.push WHERE source = 'S'"), 1, 'and go when the next batch comes');

done_testing();
