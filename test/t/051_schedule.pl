# 051_schedule.pl
#	  Schedules with the real pg_cron: what runs by itself, what is caught up,
#	  and what becomes of the jobs.
#
# pg_cron 1.4 runs by the minute.  The test waits for one minute mark; the rest
# it does by calling what pg_cron would call.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('hub');
$node->init;
plan skip_all => 'pg_cron is not installed (Debian: postgresql-15-cron)'
	unless -e $node->config_data('--pkglibdir') . '/pg_cron.so';

$node->append_conf('postgresql.conf', qq(
shared_preload_libraries = 'pg_cron'
cron.database_name = 'postgres'
cron.use_background_workers = on
max_worker_processes = 20
));
$node->start;

# Runs SQL as the shop's role; returns the result, or what is wrong.
sub as_shop
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', 'shop' ]);
	return $rc == 0 ? $out : $err;
}

# A result as the superuser
sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

# Starts SQL as the shop's role, and doesn't wait for it.
sub start_as_shop
{
	my ($sql) = @_;
	my %run = (out => '', err => '');
	$run{handle} = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('postgres') . ' user=shop', '-c', $sql ],
		'>', \$run{out}, '2>', \$run{err});
	return \%run;
}

my $polls = q(FROM syncext.job_run WHERE job = 'poll' AND relation = 'shop.feed'::regclass);
# The number of the schedule of the polled view
sub schedule { return sql(q(SELECT id FROM syncext.schedule WHERE relation = 'shop.feed'::regclass)) }

# A polled view that opens, fails and hangs as its gate says.
sql(q(
	CREATE EXTENSION syncext;
	CREATE EXTENSION pg_cron;
	CREATE ROLE shop LOGIN;
	CREATE SCHEMA shop AUTHORIZATION shop;
	SELECT sync_add_source('Shop', 1, 'shop'), sync_add_source('Branch', 2, 'shop'), sync_add_source('CRM', 3);
));
is(as_shop(q(
	CREATE TABLE shop.gate (state text);
	INSERT INTO shop.gate VALUES ('open');
	CREATE FUNCTION shop.open() RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT state FROM shop.gate) = 'shut' THEN
			RAISE EXCEPTION 'the shop is shut';
		ELSIF (SELECT state FROM shop.gate) = 'busy' THEN
			PERFORM pg_advisory_lock(42), pg_advisory_unlock(42);
		END IF;
		RETURN true;
	END $$;
	CREATE TABLE shop.stock (id int PRIMARY KEY, pieces int, updated_at timestamptz);
	INSERT INTO shop.stock SELECT n, n, now() FROM generate_series(1, 10) n;
	CREATE VIEW shop.feed AS SELECT * FROM shop.stock WHERE (SELECT shop.open());
	SELECT sync_attach('shop.feed', 'Shop', capture => 'poll', direction => 'in', key => '{id}', updated_column => 'updated_at');
	CREATE TABLE shop.branch (id int PRIMARY KEY, pieces int);
	SELECT sync_attach('shop.branch', 'Branch', direction => 'out');
)), "\n", 'relations are attached');

# ---------- scheduling

like(as_shop(q(SELECT sync_schedule('shop.feed', '* * * * *'))),
	qr/permission denied to schedule jobs with pg_cron.*GRANT USAGE ON SCHEMA cron TO shop/s,
	'scheduling needs the right to use pg_cron');
sql('GRANT USAGE ON SCHEMA cron TO shop');
is(as_shop(q(SELECT sync_schedule('shop.feed', '0 * * * * *'))), '* * * * *',
	'six fields with 0 seconds become five');
like(as_shop(q(SELECT sync_schedule('shop.feed', '*/30 * * * * *'))), qr/first of its six fields/,
	'other six fields are refused');
SKIP:
{
	skip 'this pg_cron knows seconds', 1
		if sql(q(SELECT substring(extversion from '\d+\.(\d+)')::int >= 5 FROM pg_extension WHERE extname = 'pg_cron')) eq 't';
	like(as_shop(q(SELECT sync_schedule('shop.feed', '30 seconds'))), qr/seconds need pg_cron 1\.5/,
		'seconds are refused where pg_cron does not know them');
}
is(as_shop(q(SELECT sync_schedule('shop.branch', '@hourly'))), '0 * * * *', 'a shorthand');
# By the hour, at a minute that is far, and two hours old: the last run was missed.
my $minute = sql(q(SELECT (extract(minute FROM now())::int + 30) % 60));
as_shop("SELECT sync_schedule('shop.branch', '$minute * * * *')");
sql(q(UPDATE syncext.job_state SET next_due = next_due - interval '2 hours' WHERE relation = 'shop.branch'::regclass));
is(sql(q(SELECT string_agg(format('%s %s %s %s', username, jobname, schedule, command), E'\n' ORDER BY jobid) FROM cron.job)),
	'shop syncext: shop.feed * * * * * CALL syncext.run_job(schedule => ' . schedule() . ")\n"
	. "shop syncext: catch up * * * * * CALL syncext.catch_up()\n"
	. "shop syncext: shop.branch $minute * * * * CALL syncext.run_job(schedule => "
	. sql(q(SELECT id FROM syncext.schedule WHERE relation = 'shop.branch'::regclass)) . ')',
	'the jobs are the role\'s own');

# ---------- running

ok($node->poll_query_until('postgres', qq(SELECT EXISTS (SELECT $polls AND status = 'done'))),
	'a poll has run by schedule');
ok($node->poll_query_until('postgres',
		q(SELECT EXISTS (SELECT FROM syncext.job_run WHERE job = 'deliver' AND status = 'done'))),
	'and a missed delivery was caught up');
# from here on the test is pg_cron
as_shop(q(SELECT sync_schedule('shop.feed', '0 0 1 1 *'), sync_schedule('shop.branch', '0 0 1 1 *')));
sql(q(UPDATE cron.job SET active = false WHERE jobname = 'syncext: catch up'));
ok($node->poll_query_until('postgres',
		q(SELECT count(*) > 1 AND bool_and(status = 'succeeded') FROM cron.job_run_details)),
	'pg_cron says that they succeeded');
is(sql(qq(SELECT DISTINCT role, attempt, scheduled_for = date_trunc('minute', started_at), (counts->>'new')::int > 0 $polls
	AND id = (SELECT min(id) $polls))), 'shop|1|t|t', 'its run is on record');
is(sql(q(SELECT count(*) FROM syncext.canonical WHERE NOT deleted)), 10, 'the hub has the rows');
is(sql(qq(SELECT count(*), bool_and(scheduled_for = date_trunc('hour', scheduled_for) + interval '$minute min') FROM syncext.job_run WHERE job = 'deliver')),
	'1|t', 'what was missed ran once, for the hour');
like(as_shop('CALL syncext.catch_up()'), qr/"run": 0/, 'nothing is left to catch up');
is(sql(q(SELECT object, problem FROM sync_check() WHERE object LIKE 'schedule%')),
	join("\n", map { "schedules of source $_|nothing catches up what is missed or fails: pg_cron has no active job \"syncext: catch up\" of role shop" } 'Branch', 'Shop'),
	'sync_check() sees that the job which catches up is not active');

# ---------- a run that goes on

sql(q(UPDATE shop.gate SET state = 'busy'));
my $blocker = start_as_shop('SELECT pg_advisory_lock(42); SELECT pg_sleep(1000)');
ok($node->poll_query_until('postgres',
		q(SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted))), 'the gate is held');
my $id = schedule();
my $run = start_as_shop("CALL syncext.run_job(schedule => $id)");
ok($node->poll_query_until('postgres',
		q(SELECT EXISTS (SELECT FROM syncext.job_progress p JOIN pg_stat_activity a USING (pid) WHERE a.wait_event_type = 'Lock'))),
	'a poll goes on');
my $pid = sql(q(SELECT pid FROM syncext.job_progress));
like(as_shop("CALL syncext.run_job(schedule => $id)"), qr/"runningIn": $pid/, 'it is not started twice');
is(sql(qq(SELECT status, error, scheduled_for IS NOT NULL $polls ORDER BY id DESC LIMIT 1)),
	"skipped|the run of session $pid goes on|t", 'and a row says so');
sql(q(UPDATE syncext.job_state SET next_due = next_due - interval '2 years' WHERE job = 'poll'));
is(sql(q(SELECT status, failures, missed, next_run < now() FROM syncext.job_status WHERE job = 'poll')), 'running|0|f|t',
	'the job is running, and what goes on misses nothing');
# the blocker sleeps, and ends with its session
sql(q(SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted));
$run->{handle}->finish;
$blocker->{handle}->finish;
like($run->{out}, qr/"poll": \{/, 'then it ends');
is(sql(q(SELECT status, failures, missed, next_run < now() FROM syncext.job_status WHERE job = 'poll')), 'done|0|f|t',
	'what was due meanwhile is pg_cron\'s to begin');
sql(q(UPDATE syncext.job_state SET next_due = next_due + interval '2 years' WHERE job = 'poll'));
is(sql(qq(SELECT count(*) $polls AND status = 'running')), 0, 'and is no longer running');

# ---------- a run that is broken off

# retries follow at once
sql(q(ALTER DATABASE postgres SET syncext.retry_base = '1ms'));
$blocker = start_as_shop('SELECT pg_advisory_lock(42); SELECT pg_sleep(1000)');
ok($node->poll_query_until('postgres',
		q(SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted))), 'the gate is held');
$run = start_as_shop("CALL syncext.run_job(schedule => $id)");
ok($node->poll_query_until('postgres',
		q(SELECT EXISTS (SELECT FROM syncext.job_progress p JOIN pg_stat_activity a USING (pid) WHERE a.wait_event_type = 'Lock'))),
	'a poll goes on');
sql(q(SELECT pg_terminate_backend(pid) FROM syncext.job_progress));
$run->{handle}->finish;
sql(q(SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted));
$blocker->{handle}->finish;
sql(q(UPDATE shop.gate SET state = 'open'));
is(sql(qq(SELECT status $polls ORDER BY id DESC LIMIT 1)), 'running', 'nobody was left to write how it ended');
is(sql(q(SELECT status, failures FROM syncext.job_status WHERE job = 'poll')), 'interrupted|1', 'it was interrupted');
is(sql(q(SELECT severity, problem ~ '^was interrupted at .*: its session is gone$' FROM sync_check() WHERE object = 'poll of shop.feed')),
	'info|t', 'sync_check() says so');
like(as_shop('CALL syncext.catch_up()'), qr/"run": 1, "failed": 0/, 'it is caught up');
is(sql(qq(SELECT string_agg(status || ' ' || attempt, ', ' ORDER BY id) FROM (SELECT id, status, attempt $polls ORDER BY id DESC LIMIT 2) r)),
	'interrupted 1, done 2', 'by a second attempt');
is(sql(q(SELECT count(*) FROM sync_check() WHERE object = 'poll of shop.feed')), 0, 'and all is well');

# ---------- a run that fails

sql(q(UPDATE shop.gate SET state = 'shut'));
sql(q(UPDATE syncext.source SET retry_cap = 2 WHERE name = 'Shop'));
like(as_shop("CALL syncext.run_job(schedule => $id)"), qr/the shop is shut/, 'a poll fails');
is(sql(q(SELECT severity, problem ~ '^failed at .*the shop is shut', hint ~ '^It is tried again' FROM sync_check() WHERE object = 'poll of shop.feed')),
	'info|t|t', 'it is tried again');
is(sql(q(SELECT next_run - ended_at, ended_at > started_at FROM syncext.job_status WHERE job = 'poll')), '00:00:00.001|t',
	'after a time that counts from its end');
like(as_shop('CALL syncext.catch_up()'), qr/"run": 1, "failed": 1/, 'it is tried again, and fails');
is(sql(q(SELECT severity, problem ~ '^failed or was interrupted 2 times in a row' FROM sync_check() WHERE object = 'poll of shop.feed')),
	'error|t', 'sync_check() says that it was given up');
like(as_shop('CALL syncext.catch_up()'), qr/"run": 0/, 'it is');
is(sql(qq(SELECT string_agg(status || ' ' || attempt, ', ' ORDER BY id) FROM (SELECT id, status, attempt $polls ORDER BY id DESC LIMIT 2) r)),
	'failed 1, failed 2', 'its runs are on record');
sql(q(UPDATE shop.gate SET state = 'open'));
like(as_shop("CALL syncext.run_job(schedule => $id)"), qr/"poll": \{/, 'the next in turn succeeds');
is(sql(q(SELECT count(*) FROM sync_check() WHERE object = 'poll of shop.feed')), 0, 'and all is well');

# ---------- both: one half fails, the other is run

sql(q(SELECT sync_add_entity('shelf')));
is(as_shop(q(
	CREATE TABLE shop.shelf_data (id int PRIMARY KEY, pieces int);
	INSERT INTO shop.shelf_data VALUES (1, 1), (2, 2);
	CREATE FUNCTION shop.readable(id int) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		IF id = 2 THEN
			RAISE EXCEPTION 'shelf % is on fire', id;
		END IF;
		RETURN true;
	END $$;
	CREATE VIEW shop.shelf AS SELECT * FROM shop.shelf_data WHERE shop.readable(id);
	SELECT sync_attach('shop.shelf', 'Shop', 'shelf', capture => 'poll', direction => 'both', key => '{id}');
	SELECT sync_schedule('shop.shelf', '0 0 1 1 *');
)), "\n0 0 1 1 *", 'a relation that can be written row by row, but not be read as a whole');
sql(q(SELECT sync_apply('{"entity": "shelf", "externalId": "77", "source": "CRM", "version": 1, "pieces": 7}')));
my $shelf = sql(q(SELECT id FROM syncext.schedule WHERE relation = 'shop.shelf'::regclass));
like(as_shop("CALL syncext.run_job(schedule => $shelf)"), qr/shelf 2 is on fire/, 'its poll fails, and so does the call');
is(sql(q(SELECT string_agg(concat_ws(' ', job, status, error, counts->>'delivered'), ', ' ORDER BY id)
	FROM syncext.job_run WHERE relation = 'shop.shelf'::regclass)),
	'poll failed P0001: shelf 2 is on fire, deliver done 1', 'it has delivered nevertheless');
is(sql('SELECT pieces FROM shop.shelf_data WHERE id = 77'), 7, 'the row is there');
as_shop(q(SELECT sync_unschedule('shop.shelf'), sync_detach('shop.shelf')));

# ---------- dump and restore

sql('CREATE DATABASE restored');
# pg_cron can't be in two databases
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '--extension=syncext', '--schema=shop', '--schema=syncext', '-f', $node->basedir . '/dump.sql' ], 'dump');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $node->basedir . '/dump.sql' ], 'restore');
is($node->safe_psql('restored', q(SELECT relation, cron, job, role, id FROM syncext.schedule WHERE job = 'poll')),
	"shop.feed|0 0 1 1 *|poll|shop|$id", 'schedules are restored');
is($node->safe_psql('restored', q(SELECT object, problem FROM sync_check() WHERE severity = 'error' AND object LIKE 'schedule%')),
	"schedule of shop.branch|pg_cron has no such job\nschedule of shop.feed|pg_cron has no such job",
	'sync_check() knows that nothing runs them there');
my $state = 'SELECT relation, job, status, failures, next_run, missed FROM syncext.job_status ORDER BY relation::text, job';
is($node->safe_psql('restored', $state), sql($state), 'when they run next is, too');
my $catch_up = sub { return ($node->psql('restored', 'CALL syncext.catch_up()', extra_params => [ '-U', 'shop' ]))[1] };
like($catch_up->(), qr/"run": 0/, 'nothing begins before its time there');
$node->safe_psql('restored', q(
	UPDATE syncext.job_state SET next_due = next_due - interval '5 years';
	UPDATE syncext.job_run SET ended_at = ended_at - interval '5 years';
));
like($catch_up->(), qr/"run": 2, "failed": 0/, 'and what was missed since the dump');
like($catch_up->(), qr/"run": 0/, 'is caught up once');

# ---------- ends

sql(q(ALTER TABLE shop.branch RENAME TO outlet));
like(as_shop('CALL syncext.run_job(schedule => ' . sql(q(SELECT id FROM syncext.schedule WHERE job = 'deliver')) . ')'), qr/"deliver"/,
	'a relation may get another name');
is(as_shop(q(SELECT sync_detach('shop.feed'))), '', 'sync_detach');
is(sql(q(SELECT string_agg(jobname, ', ' ORDER BY jobname) FROM cron.job)), 'syncext: catch up, syncext: shop.branch',
	'sync_detach takes the job away');
sql(q(SELECT sync_unschedule('shop.outlet')));
is(sql(q(SELECT count(*) FROM cron.job)), 0, 'sync_unschedule does, for another role too, and the last takes the one that catches up');
as_shop(q(SELECT sync_schedule('shop.outlet', '0 * * * *')));
is(sql(q(SELECT sync_schedule('shop.outlet', '1 * * * *'))), '1 * * * *', 'another role may take it over');
is(sql(q(SELECT string_agg(DISTINCT username, ', ') FROM cron.job)), $node->safe_psql('postgres', 'SELECT current_user'), 'then the jobs are its own');
sql('DROP EXTENSION pg_cron');
is(sql(q(SELECT problem FROM sync_check() WHERE object LIKE 'schedule%')), 'pg_cron has no such job', 'pg_cron is dropped');
my ($rc, $out, $err) = $node->psql('postgres', q(SELECT sync_unschedule('shop.outlet')));
is("$rc$err", '0', 'then sync_unschedule has nothing to remove');
like(as_shop(q(SELECT sync_schedule('shop.outlet', '*/5 * * * *'))),
	qr/pg_cron is not installed in this database.*\*\/5 \* \* \* \* psql -X -d postgres -U shop -c "CALL syncext\.run_job\('shop\.outlet', 'deliver'\)"/s,
	'and sync_schedule says what to do without');
sql(q(CREATE EXTENSION pg_cron; SELECT sync_schedule('shop.outlet', '*/5 * * * *')));
is(sql('DROP EXTENSION syncext; SELECT count(*) FROM cron.job'), 2,
	'DROP EXTENSION leaves the jobs to whoever did not call sync_unschedule before');

$node->stop;
done_testing();
