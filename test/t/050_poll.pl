# 050_poll.pl
#	  Polled relations on a second server, through postgres_fdw: nothing is lost or
#	  comes twice, whatever happens to the source, to its clock or to the poll.

use strict;
use warnings;

use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $far = PostgreSQL::Test::Cluster->new('far');
$far->init;
$far->start;
my $hub = PostgreSQL::Test::Cluster->new('hub');
$hub->init;
$hub->start;
plan skip_all => 'postgres_fdw is not installed'
	unless -e $hub->config_data('--pkglibdir') . '/postgres_fdw.so';

sub far_sql { return $far->safe_psql('postgres', $_[0]) }
sub hub_sql { return $hub->safe_psql('postgres', $_[0]) }

$hub->safe_psql('postgres', sprintf(q(
	CREATE EXTENSION syncext;
	CREATE EXTENSION postgres_fdw;
	CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER far;
	SELECT sync_add_source('CRM', 1), sync_add_source('Near', 2), sync_add_source('Far', 3);
), $far->host, $far->port));

# What a poll answered, in few words; settings go before it.
sub poll
{
	my ($relation, %opt) = @_;
	my $result = decode_json(hub_sql(($opt{set} // '') . "CALL sync_poll('$relation'" . ($opt{full} ? ', true' : '') . ');'));
	my $seconds = delete $result->{seconds};
	my $watermark = delete $result->{watermark};
	my @kinds = grep { $result->{$_} || $_ eq 'read' } qw(read new updated merged skipped conflicts waiting deleted failed);
	return join(' ', map { "$_=$result->{$_}" } @kinds);
}

# A table on the far side and its foreign table here, attached as Far's copy.
sub attach
{
	my ($table, $columns, %opt) = @_;
	far_sql("CREATE TABLE $table ($columns)");
	hub_sql("IMPORT FOREIGN SCHEMA public LIMIT TO ($table) FROM SERVER far INTO public") unless $opt{foreign};
	hub_sql("CREATE FOREIGN TABLE $table ($opt{foreign}) SERVER far") if $opt{foreign};
	hub_sql("SELECT sync_add_entity('$table'" . ($opt{ladder} ? ", '$opt{ladder}'" : '') . ")");
	hub_sql("SELECT sync_attach('$table', 'Far', '$table', '{id}', capture => 'poll', " . ($opt{direction} ? "direction => '$opt{direction}', " : '') .
		($opt{no_updated} ? '' : "updated_column => 'updated_at'") . ')' =~ s/, \)$/)/r);
	return;
}

sub ids { return hub_sql("SELECT string_agg(external_id, ' ' ORDER BY external_id) FROM syncext.canonical WHERE entity = '$_[0]' AND NOT deleted") }

my $plain = 'id text PRIMARY KEY, name text, n int, updated_at timestamptz DEFAULT now()';

# ---------- committed late ----------

attach('late', $plain);
far_sql("INSERT INTO late VALUES ('a', 'first', 1)");
my $slow = $far->background_psql('postgres');
$slow->query_safe("BEGIN; INSERT INTO late VALUES ('slow', 'begun early', 2);");
far_sql("INSERT INTO late VALUES ('b', 'later', 3)");
is(poll('late'), 'read=2 new=2', 'a poll sees what is committed');
$slow->query_safe('COMMIT;');
$slow->quit;
is(poll('late', set => 'SET syncext.poll_overlap = 0; '), 'read=1 skipped=1', 'without an overlap it misses what was committed late');
is(poll('late'), 'read=3 new=1 skipped=2', 'with it, it comes');
is(ids('late'), 'a b slow', 'all are there');

# ---------- clocks ----------

attach('clocks', $plain);
far_sql("INSERT INTO clocks VALUES ('now', 'n', 1, now()), ('future', 'f', 2, now() + '1 day'), ('never', 'i', 3, 'infinity'), ('unknown', 'u', 4, NULL)");
is(poll('clocks'), 'read=4 new=4', 'a clock that is ahead, none at all');
is(hub_sql("SELECT watermark <= now() FROM syncext.poll_state WHERE relation = 'clocks'::regclass"), 't', 'the watermark is not of tomorrow');
far_sql("INSERT INTO clocks VALUES ('now 2', 'n', 1)");
is(poll('clocks', set => 'SET syncext.poll_overlap = 0; '), 'read=4 new=1 skipped=3', 'and the others are still seen');
attach('behind', $plain =~ s/now\(\)/now() - interval '2 hours'/r);
far_sql("INSERT INTO behind VALUES ('a', 'x', 1)");
is(poll('behind'), 'read=1 new=1', 'a clock that is behind');
far_sql("INSERT INTO behind VALUES ('b', 'x', 1); UPDATE behind SET name = 'y', updated_at = now() - interval '2 hours' WHERE id = 'a'");
is(poll('behind', set => 'SET syncext.poll_overlap = 0; '), 'read=2 new=1 updated=1', 'goes its own way');

# ---------- equal timestamps ----------

attach('same', $plain);
far_sql("INSERT INTO same SELECT 'r' || i, 'x', i, '2024-01-01' FROM generate_series(1, 10) i");
is(poll('same', set => 'SET syncext.poll_batch = 3; SET syncext.poll_overlap = 0; '), 'read=10 new=10', 'one time for all, in batches');
far_sql("INSERT INTO same SELECT 's' || i, 'x', i, '2024-01-01' FROM generate_series(1, 5) i");
is(poll('same', set => 'SET syncext.poll_batch = 3; SET syncext.poll_overlap = 0; '), 'read=15 new=5 skipped=10', 'and more of the same time');

# ---------- killed ----------

attach('killed', $plain);
my $rows = 20000;
far_sql("INSERT INTO killed SELECT 'r' || i, 'x', i, '2024-01-01'::timestamptz + (i / 7) * interval '1 second' FROM generate_series(1, $rows) i");
my $poll_sql = 'SET syncext.poll_batch = 40; SET syncext.poll_overlap = 0; CALL sync_poll(\'killed\')';
sub start_poll
{
	my ($out, $err) = ('', '');
	my $run = IPC::Run::start([ 'psql', '-qXAt', '-d', $hub->connstr('postgres'), '-c', 'SET syncext.poll_batch = 40', '-c', 'SET syncext.poll_overlap = 0',
		'-c', "CALL sync_poll('$_[0]', $_[1])" ], '>', \$out, '2>', \$err);
	return ($run, \$out, \$err);
}
# Ends the relation's poll, once it is on its way; one that has ended already has.
sub kill_poll
{
	hub_sql(qq(DO \$\$ BEGIN FOR i IN 1 .. 100 LOOP
		EXIT WHEN (SELECT count(pg_terminate_backend(pid)) FROM syncext.job_progress WHERE relation = '$_[0]'::regclass) > 0;
		PERFORM pg_sleep(0.01);
	END LOOP; END \$\$));
}
my ($ended, $rounds) = (0, 0);
for my $round (1 .. 12)
{
	my ($run, $out, $err) = start_poll('killed', 'false');
	usleep(20000 + int(rand(120000)));
	if ($round % 4 == 0)
	{
		$hub->stop('immediate');
		eval { $run->finish };
		$hub->start;
	}
	else
	{
		kill_poll('killed');
		eval { $run->finish };
	}
	$rounds++;
	$ended++ if $$out =~ /watermark/;
}
cmp_ok($ended, '<', $rounds, "$ended of $rounds polls came to their end");
poll('killed');
is(hub_sql("SELECT count(*) FROM syncext.canonical WHERE entity = 'killed'"), $rows, 'killed at many moments: every row has come');
is(hub_sql("SELECT count(*), count(DISTINCT external_id) FROM syncext.change_log WHERE entity = 'killed'"), "$rows|$rows", 'and once');
is(hub_sql("SELECT count(*) FROM syncext.replica WHERE relation = 'killed'::regclass AND fields->>'n' IS NOT NULL"), $rows, 'and is remembered');
is(hub_sql("SELECT count(*) FROM syncext.job_run WHERE status = 'running'"), '0', 'no run seems to go on');
my $interrupted = hub_sql("SELECT count(*) FROM syncext.job_run WHERE relation = 'killed'::regclass AND status = 'interrupted'");
ok($interrupted > 0 && $interrupted <= $rounds - $ended, "those that were killed on their way were interrupted: $interrupted");
# the deletes of a full compare, killed
far_sql("DELETE FROM killed WHERE n % 3 = 0");
my $left = far_sql('SELECT count(*) FROM killed');
for my $round (1 .. 6)
{
	my ($run, $out, $err) = start_poll('killed', 'true');
	usleep(50000 + int(rand(200000)));
	kill_poll('killed');
	eval { $run->finish };
}
poll('killed', full => 1);
is(hub_sql("SELECT count(*) FROM syncext.canonical WHERE entity = 'killed' AND NOT deleted"), $left, 'what has vanished is deleted');
is(hub_sql("SELECT count(*) - count(DISTINCT external_id) FROM syncext.change_log WHERE entity = 'killed' AND (detail->>'deleted')::bool"), '0', 'once');

# ---------- the source is away ----------

attach('away', $plain);
far_sql("INSERT INTO away VALUES ('a', 'x', 1)");
is(poll('away'), 'read=1 new=1', 'the source is there');
hub_sql(q(SELECT sync_apply('{"entity": "away", "externalId": "a", "source": "CRM", "version": 5, "n": 5}')));
far_sql("INSERT INTO away VALUES ('b', 'x', 2)");
$far->stop('fast');
my ($rc, $out, $err) = $hub->psql('postgres', "CALL sync_poll('away')");
like($err, qr/could not connect to server "far"/, 'the source is away: a poll says so');
is(hub_sql("SELECT status, error ~ '^08001: could not connect' FROM syncext.job_run ORDER BY id DESC LIMIT 1"), 'failed|t', 'and so does its run');
($rc, $out, $err) = $hub->psql('postgres', "SELECT sync_deliver('Far')");
like($err, qr/could not connect to server "far"/, 'so does a delivery');
is(hub_sql("SELECT count(*) FROM syncext.pending"), '0', 'which counts for nothing');
$far->start;
is(poll('away'), 'read=2 new=1 skipped=1', 'it is back');
hub_sql("SELECT sync_deliver('Far')");
is(far_sql("SELECT n FROM away WHERE id = 'a'"), '5', 'and takes what it missed');

# ---------- columns come and go ----------

attach('columns', $plain);
far_sql("INSERT INTO columns VALUES ('a', 'x', 1)");
poll('columns');
far_sql("ALTER TABLE columns DROP COLUMN n");
far_sql("UPDATE columns SET name = 'y', updated_at = now() WHERE id = 'a'");
($rc, $out, $err) = $hub->psql('postgres', "CALL sync_poll('columns')");
like($err, qr/column "n" does not exist/, 'a column that was dropped on the source');
hub_sql("ALTER FOREIGN TABLE columns DROP COLUMN n");
is(poll('columns'), 'read=1 updated=1', 'it goes here, too, and the rest goes on');
is(hub_sql("SELECT fields FROM syncext.canonical WHERE entity = 'columns'"), '{"n": 1, "name": "y"}', 'the record keeps it');
far_sql("ALTER TABLE columns ADD COLUMN mail text");
is(poll('columns'), 'read=1 skipped=1', 'a column that was added on the source is not seen');
hub_sql("ALTER FOREIGN TABLE columns ADD COLUMN mail text");
is(poll('columns'), 'read=1 skipped=1', 'until it is here, too; that it is empty is no edit');
far_sql("UPDATE columns SET mail = 'a\@x', updated_at = now() WHERE id = 'a'");
is(poll('columns'), 'read=1 updated=1', 'a value is');

# ---------- what doesn't fit ----------

attach('misfits', 'id text, name text, n text, updated_at timestamptz DEFAULT now()',
	foreign => 'id text, name text, n int, updated_at timestamptz');
far_sql("INSERT INTO misfits VALUES ('a', 'x', '1'), ('b', 'x', 'many'), ('c', 'x', '3'), (NULL, 'nobody', '4'), ('', 'empty', '5'), ('d', 'twice', '6'), ('d', 'two', '7')");
is(poll('misfits'), 'read=7 new=2 failed=4', 'what does not fit is left, and the others go on');
is(ids('misfits'), 'a c', 'these');
is(hub_sql("SELECT external_id, attempts, error FROM syncext.capture_failure WHERE relation = 'misfits'::regclass ORDER BY 1"),
	qq(|1|2 rows have no usable key: key column "id" of attached relation public.misfits is null
b|1|22P02: invalid input syntax for type integer: "many"
d|1|relation public.misfits has several rows with this key), 'and the failures say why');
is(poll('misfits'), 'read=7 skipped=2 failed=4', 'again');
is(hub_sql("SELECT attempts FROM syncext.capture_failure WHERE external_id = 'b'"), '1', 'before its time that is no attempt');
hub_sql("UPDATE syncext.capture_failure SET next_attempt = now() WHERE external_id <> ''");
poll('misfits');
is(hub_sql("SELECT attempts FROM syncext.capture_failure WHERE external_id = 'b'"), '2', 'when it is due it is one');
far_sql("UPDATE misfits SET n = '2', updated_at = now() WHERE id = 'b'; DELETE FROM misfits WHERE name IN ('two', 'nobody', 'empty')");
is(poll('misfits', full => 1), 'read=4 new=2 skipped=2', 'mended on the source, all come');
is(hub_sql("SELECT count(*) FROM syncext.capture_failure WHERE relation = 'misfits'::regclass"), '0', 'and no failure is left');
# several rows with one key, polled one after the other
far_sql("INSERT INTO misfits VALUES ('e', 'one', '1', now())");
poll('misfits');
far_sql("INSERT INTO misfits VALUES ('e', 'other', '2', now())");
like(poll('misfits'), qr/failed=1$/, 'a second row with the key is noticed');
is(hub_sql("SELECT fields->>'name' FROM syncext.canonical WHERE entity = 'misfits' AND external_id = 'e'"), 'one', 'and not taken');
far_sql("DELETE FROM misfits WHERE name = 'one'");
is(poll('misfits') =~ s/read=\d+ //r, 'updated=1 skipped=4', 'until it is the only one');

# ---------- whose transaction is ended ----------

attach('crossed', $plain);
far_sql("INSERT INTO crossed SELECT 'r' || i, 'x', i FROM generate_series(1, 9) i");
poll('crossed');
hub_sql(q(SELECT count(sync_apply(jsonb_build_object('entity', 'crossed', 'externalId', 'r' || i, 'source', 'CRM', 'version', 5, 'name', 'delivered'))) FROM generate_series(1, 9) i));
# of two sessions in a deadlock the server ends the one that looks first
hub_sql("ALTER SERVER far OPTIONS (ADD options '-c deadlock_timeout=1h')");
my $user = $far->background_psql('postgres');
$user->query_safe("SET deadlock_timeout = '60s'; BEGIN; UPDATE crossed SET n = 100 WHERE id = 'r9'");
my $delivery = IPC::Run::start([ 'psql', '-qXAt', '-d', $hub->connstr('postgres'), '-c', "LOAD 'syncext'", '-c', "SET syncext.lock_timeout = '5s'", '-c', "SELECT sync_deliver('Far')" ], '>', \my $delivered, '2>', \my $complaint);
ok($far->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'postgres_fdw' AND wait_event_type = 'Lock'"), 'a delivery waits for a row that a user of the source holds');
$user->query_safe("UPDATE crossed SET n = 101 WHERE id = 'r1'");
pass('the user, who needs a row that the delivery holds, gets it');
$user->query_safe('COMMIT');
$user->quit;
$delivery->finish;
is($complaint, '', 'the delivery has left those rows for later');
# r1 too, if the delivery had let go of it before the user asked
my $left = hub_sql("SELECT string_agg(external_id || ' ' || attempts, ', ' ORDER BY external_id) FROM syncext.pending");
like($left, qr/^(r1 0, )?r9 0$/, 'which is no failure');
is(far_sql("SELECT count(*) FROM crossed WHERE name = 'delivered'"), $left =~ /r1/ ? 7 : 8, 'and has delivered the others');
hub_sql("SELECT sync_redrive('Far')");
hub_sql("SELECT sync_deliver('Far')");
is(far_sql("SELECT count(*) FILTER (WHERE name = 'delivered'), string_agg(n::text, ' ' ORDER BY id) FROM crossed"), '9|101 2 3 4 5 6 7 8 100', 'later it does');
hub_sql("ALTER SERVER far OPTIONS (DROP options)");

# ---------- both ways ----------

# what is in a table, in one string
my $content = "SELECT coalesce(string_agg(concat_ws('|', id, name, phone, n), E'\\n' ORDER BY id), '') FROM";
# random edits of a table, n of them, with a mark of who did them
sub random_edits
{
	my ($table, $n, $who, $pause) = @_;
	return qq(DO \$\$ BEGIN FOR i IN 1 .. $n LOOP
		CASE floor(random() * 10)
		WHEN 0 THEN DELETE FROM $table WHERE id = 'r' || floor(random() * 60)::int;
		WHEN 1, 2 THEN INSERT INTO $table (id, name, phone, n) VALUES ('r' || floor(random() * 60)::int, '$who' || i, '$who' || i, i) ON CONFLICT DO NOTHING;
		WHEN 3, 4, 5 THEN UPDATE $table SET name = '$who' || i, updated_at = clock_timestamp() WHERE id = 'r' || floor(random() * 60)::int;
		WHEN 6, 7 THEN UPDATE $table SET phone = '$who' || i, updated_at = clock_timestamp() WHERE id = 'r' || floor(random() * 60)::int;
		ELSE UPDATE $table SET n = i, updated_at = clock_timestamp() WHERE id = 'r' || floor(random() * 60)::int;
		END CASE;
		COMMIT;
		PERFORM pg_sleep($pause);
	END LOOP; END \$\$;);
}

# Polls and delivers until nothing moves.
sub settle
{
	my ($near, $far_table) = @_;
	for my $round (1 .. 30)
	{
		# what was busy would come again in a second
		my $moved = hub_sql("SELECT sync_redrive('Near') + sync_redrive('Far')") + hub_sql("SELECT sync_deliver('Near') + sync_deliver('Far')");
		my $polled = poll($far_table, full => 1);
		$polled .= ' ' . poll($near, full => 1) if hub_sql("SELECT capture FROM syncext.binding WHERE relation = '$near'::regclass") eq 'poll';
		return $round if $moved == 0 && $polled !~ /new|updated|merged|conflicts|deleted|failed|waiting/;
	}
	return 'never';
}

sub both_ways
{
	my ($name, $capture, $ladder) = @_;
	my $columns = 'id text PRIMARY KEY, name text, phone text, n int, updated_at timestamptz DEFAULT clock_timestamp()';
	attach($name, $columns, ladder => $ladder);
	hub_sql("CREATE TABLE near_$name ($columns)");
	hub_sql("SELECT sync_attach('near_$name', 'Near', '$name', capture => '$capture', updated_column => 'updated_at')");
	# edits on both sides while polls and deliveries go on
	my @said = ('', '');
	my @editors = map { IPC::Run::start([ 'psql', '-qXAt', '-v', 'ON_ERROR_STOP=1', '-d', $_->[0]->connstr('postgres'), '-c', "SET lock_timeout = '10s'", '-c', random_edits($_->[1], 500, $_->[2], 0.01) ], '>', '/dev/null', '2>', $_->[3]) }
		([ $far, $name, 'F', \$said[0] ], [ $hub, "near_$name", 'N', \$said[1] ]);
	my $turns = 0;
	while (grep { $_->pumpable } @editors)
	{
		poll($name, full => $turns % 3 == 0, set => 'SET syncext.poll_batch = 7; SET syncext.poll_delete_limit = 100; ');
		hub_sql("SELECT sync_deliver('Near', 20)");
		poll("near_$name", full => $turns % 3 == 1, set => 'SET syncext.poll_delete_limit = 100; ') if $capture eq 'poll';
		hub_sql("SELECT sync_deliver('Far', 20)");
		$turns++;
		last if $turns > 2000;
		$_->pumpable and $_->pump_nb for @editors;
	}
	ok(!(grep { !$_->finish } @editors), "$name: the editors have done their work") or diag(@said);
	my $round = settle("near_$name", $name);
	isnt($round, 'never', "$name: after $turns turns with edits it settles, in $round rounds");
	my $here = hub_sql("$content near_$name");
	cmp_ok(length($here), '>', 100, "$name: there are rows");
	is(far_sql("$content $name"), $here, "$name: both tables are equal");
	is(hub_sql("SELECT string_agg(concat_ws('|', external_id, fields->>'name', fields->>'phone', fields->>'n'), E'\\n' ORDER BY external_id) FROM syncext.canonical WHERE entity = '$name' AND NOT deleted"),
		$here, "$name: and so is the hub");
	is(hub_sql("SELECT count(*) FROM syncext.capture_failure"), '0', "$name: nothing has failed");
	is(hub_sql("SELECT target, external_id, error FROM syncext.pending"), '', "$name: nothing waits");
	# a further poll reads them without a single write
	my $written = "SELECT count(*), max(seq) FROM syncext.change_log";
	my $marks = "SELECT md5(string_agg(xmin::text || ctid::text, ' ' ORDER BY ctid)) FROM";
	my @hub_marks = map { "$marks $_" } ('syncext.canonical', 'syncext.replica', "near_$name");
	my $before = join(' ', map { hub_sql($_) } $written, @hub_marks) . far_sql("$marks $name");
	like(poll($name, full => 1), qr/^read=\d+ skipped=\d+$/, "$name: a further poll");
	poll("near_$name", full => 1) if $capture eq 'poll';
	hub_sql("SELECT sync_deliver('Near'), sync_deliver('Far')");
	is(join(' ', map { hub_sql($_) } $written, @hub_marks) . far_sql("$marks $name"), $before, "$name: writes nothing");
	return;
}
both_ways('people', 'trigger', '{version,merge,priority,manual}');
both_ways('newest', 'poll', '{latest,keep}');

$hub->stop;
$far->stop;
done_testing();
