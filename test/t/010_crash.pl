# 010_crash.pl
#	  The server is killed while several clients send changes: what was answered
#	  is there afterwards, and nothing is there by halves.  And a standby explains
#	  changes, but takes none.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run ();
use Time::HiRes;

my $clients = 4;
my $rounds = 3;
my $changes_a_round = 800;
my $batch_size = 7;
my $scripts = PostgreSQL::Test::Utils::tempdir;

# SIGKILL loses nothing that was handed to the operating system, so fsync, which
# the framework turns off, makes no difference; that commits wait for the write
# does.
my $node = PostgreSQL::Test::Cluster->new('hub');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', qq(
synchronous_commit = on
max_prepared_transactions = 5
restart_after_crash = off
));
$node->start;
$node->safe_psql('postgres', q(
	CREATE EXTENSION syncext;
	SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2),
		sync_add_source('Web', 3), sync_add_source('App', 3);
));

# The script of one client: changes of few records, so that the clients contest
# all of them.  Every change has a mark of its own in a field of the client's,
# every statement a number, and psql prints the number with the answer.
sub write_script
{
	my ($file, $round, $client) = @_;
	my @source = qw(CRM ERP Web App);
	my $sql = '';

	srand($round * 100 + $client);
	for my $n (1 .. 20000)
	{
		my @documents;
		my $batch = rand() < 0.3;

		for my $i (1 .. $batch ? $batch_size : 1)
		{
			my $deleted = rand() < 0.03;
			my %member = (
				externalId => '"K' . int(rand(12)) . '"',
				source => '"' . $source[ rand(@source) ] . '"');

			# versions go up as the run goes on
			if (rand() < 0.7) { $member{version} = int($n / 20 + rand(3)) }
			else { $member{base} = int(rand(200)) }
			if ($deleted) { $member{deleted} = 'true' }
			else
			{
				my $field = 'f' . int(rand(4));
				$member{fields} = qq({"mark$client": "$round-$client-$n-$i", "$field": ) . int(rand(3)) . '}';
			}
			push @documents, '{' . join(', ', map { qq("$_": $member{$_}) } sort keys %member) . '}';
		}
		my $document = $batch ? '[' . join(', ', @documents) . ']' : $documents[0];
		$sql .= "SELECT $n, jsonb_path_query_array(sync_apply('$document'), '\$[*].status');\n";
	}
	append_to_file($file, $sql);
}

# Kills every process of the server at once.
sub kill_server
{
	my @pids = split /\n/, $node->safe_psql('postgres',
		'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');
	# the postmaster first: it must not notice that the others go
	$node->kill9;
	kill 'KILL', @pids;
}

# The killed server's shared memory may be in use for another moment.
sub start_again
{
	for (1 .. 100)
	{
		return 1 if $node->start(fail_ok => 1);
		# forget the process id that the dead one left behind
		$node->stop('fast', fail_ok => 1);
		Time::HiRes::sleep(0.1);
	}
	return 0;
}

sub query_is_empty
{
	my ($query, $name) = @_;
	is($node->safe_psql('postgres', "SELECT * FROM ($query) wrong LIMIT 10"), '', $name);
}

# What must be true of the tables whatever was going on.
sub check_tables
{
	my ($when) = @_;

	query_is_empty(q(
		SELECT c.external_id, c.row_version, count(l.row_version), count(DISTINCT l.row_version), max(l.row_version)
		FROM syncext.canonical c LEFT JOIN (
			SELECT * FROM syncext.change_log
			WHERE resolution IN ('NEW_RECORD', 'VERSION_WIN', 'FIELD_MERGE')
				OR resolution = 'PRIORITY_WIN' AND told IN ('others', 'all')) l USING (entity, external_id)
		GROUP BY c.entity, c.external_id, c.row_version
		HAVING c.row_version IS DISTINCT FROM max(l.row_version)
			OR c.row_version <> count(l.row_version)
			OR c.row_version <> count(DISTINCT l.row_version)),
		"$when: every row version of every record has the one change in the log that made it");
	query_is_empty(q(
		SELECT l.seq, l.external_id FROM syncext.change_log l
		WHERE NOT EXISTS (SELECT FROM syncext.canonical c WHERE c.external_id = l.external_id)),
		"$when: every change in the log has its record");
	query_is_empty(q(
		SELECT c.external_id, f.key, f.value, s
		FROM syncext.canonical c, sync_record(c.entity, c.external_id) r,
			jsonb_each(r->'fields') f, jsonb_extract_path(r, 'stamps', f.key) s
		WHERE NOT EXISTS (
			SELECT FROM syncext.change_log l
			WHERE l.external_id = c.external_id AND l.row_version = (s->>'rowVersion')::bigint
				AND l.source = s->>'setBy' AND l.fields->f.key = f.value)),
		"$when: every value was brought by the change that its stamp names");
	query_is_empty(q(
		SELECT coalesce(c.id::text, 'none'), l.seq
		FROM (SELECT * FROM syncext.change_log WHERE resolution = 'MANUAL') l
		FULL JOIN syncext.conflict_log c ON (l.detail->>'conflictId')::bigint = c.id
		WHERE c.id IS NULL OR l.seq IS NULL),
		"$when: every conflict has its change, and the other way round");
	query_is_empty(q(
		SELECT id, status FROM syncext.conflict_log c
		WHERE (status = 'pending') <> (decided_at IS NULL)
			OR status = 'pending' AND version > (SELECT version FROM syncext.canonical r WHERE r.external_id = c.external_id)
			OR decided_seq IS NOT NULL AND NOT EXISTS (SELECT FROM syncext.change_log l WHERE l.seq = decided_seq)),
		"$when: every closed conflict names the change that closed it");
}

#
# The crashes
#
my %in_doubt;

for my $round (1 .. $rounds)
{
	my (@run, @out);

	for my $client (1 .. $clients)
	{
		my $script = "$scripts/client-$round-$client.sql";

		write_script($script, $round, $client);
		$out[$client] = '';
		push @run, IPC::Run::start(
			[ 'psql', '-XAtq', '-F', ' ', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $script ],
			'<', \undef, '>', \$out[$client], '2>', '/dev/null');
	}
	if ($round == 1)
	{
		$node->safe_psql('postgres', q(
			BEGIN;
			SELECT sync_apply('{"externalId": "prepared", "source": "CRM", "version": 1, "fields": {"mark": "prepared"}}');
			PREPARE TRANSACTION 'held'));
	}
	my $goal = $changes_a_round + $node->safe_psql('postgres', 'SELECT count(*) FROM syncext.change_log');
	$node->poll_query_until('postgres', "SELECT count(*) > $goal FROM syncext.change_log")
		or die 'the clients do nothing';
	kill_server();
	IPC::Run::finish($_) for @run;
	ok(start_again(), "round $round: the server recovers");

	my $answered = 0;
	my $lost = 0;
	my $torn = 0;
	my $unasked = 0;
	for my $client (1 .. $clients)
	{
		my %logged;
		my ($last) = $out[$client] =~ /(?:^|\n)(\d+) [^\n]*\n\z/;

		$answered += $last // 0;
		$last //= 0;
		# marks of whole batches, as the log has them
		for (split /\n/, $node->safe_psql('postgres',
			"SELECT split_part(fields->>'mark$client', '-', 3), count(*) FROM syncext.change_log
			 WHERE fields->>'mark$client' LIKE '$round-%' GROUP BY 1"))
		{
			my ($n, $count) = split /\|/;
			$logged{$n} = $count;
		}
		open(my $script, '<', "$scripts/client-$round-$client.sql") or die;
		while (my $line = <$script>)
		{
			my ($n) = $line =~ /^SELECT (\d+)/;
			my %mark;

			last if $n > $last + 2;
			$mark{$1} = 1 while $line =~ /"mark$client": "([^"]+)"/g;
			my $marks = keys %mark;
			my $count = $logged{$n} // 0;

			# a change that says nothing new isn't logged, but these marks do
			$lost++ if $n <= $last && $count < $marks;
			$torn++ if $count != 0 && $count != $marks;
			$unasked++ if $n > $last + 1 && $count > 0;
		}
	}
	cmp_ok($answered, '>', $clients, "round $round: the clients were answered");
	is($lost, 0, "round $round: what was answered is there");
	is($torn, 0, "round $round: a batch is there as a whole or not at all");
	is($unasked, 0, "round $round: nothing is there beyond the last that was sent");
	check_tables("round $round");
}
is($node->safe_psql('postgres', q(SELECT string_agg(DISTINCT resolution, ' ' ORDER BY resolution) FROM syncext.change_log)),
	'FIELD_MERGE MANUAL NEW_RECORD PRIORITY_WIN STALE_SKIP SUPERSEDED VERSION_WIN',
	'the clients contested records in all ways');

#
# A prepared transaction outlives crashes
#
is($node->safe_psql('postgres', q(SELECT sync_record('record', 'prepared') IS NULL)), 't', 'what is prepared only is not there');
my ($code, $stdout, $stderr) = $node->psql('postgres', q(
	SET lock_timeout = '100ms';
	SELECT sync_apply('{"externalId": "prepared", "source": "ERP", "version": 1, "fields": {"mark": "ERP"}}')));
like($stderr, qr/canceling statement due to lock timeout/, 'but holds its record');
$node->safe_psql('postgres', q(COMMIT PREPARED 'held'));
is($node->safe_psql('postgres', q(SELECT sync_record('record', 'prepared')->'fields'->>'mark')), 'prepared', 'committed, it is');
check_tables('at the end');

#
# A standby
#
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;

my $change = q('{"externalId": "asked", "source": "CRM", "version": 1, "fields": {"a": 1}}');
my $worse = q('{"externalId": "prepared", "source": "ERP", "version": 1, "fields": {"mark": "ERP"}}');

($code, $stdout, $stderr) = $standby->psql('postgres', "SELECT sync_apply($change)");
isnt($code, 0, 'a standby takes no change');
like($stderr, qr/ERROR:  cannot execute .* in a read-only transaction/, 'and says why');
($code, $stdout, $stderr) = $standby->psql('postgres', q(SELECT sync_resolve(1, 'dismiss')));
like($stderr, qr/ERROR:  cannot execute .* in a read-only transaction/, 'nor does it resolve conflicts');
is($standby->safe_psql('postgres', "SELECT sync_explain($change)->>'resolution'"), 'NEW_RECORD', 'it explains what would become of one');
is($standby->safe_psql('postgres', "SELECT sync_explain($worse)"), $node->safe_psql('postgres', "SELECT sync_explain($worse)"),
	'as the primary does');
is($standby->safe_psql('postgres', q(SELECT sync_record('record', 'prepared')->>'lastSource')), 'CRM', 'it shows records');
cmp_ok($standby->safe_psql('postgres', q(SELECT count(*) FROM sync_history('record', 'K1'))), '>', 0, 'and their history');

# a session that has the configuration cached hears of an edit on the primary
my ($in, $shown) = ('', '');
my $timer = IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default);
my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $standby->connstr('postgres') ], '<', \$in, '>', \$shown, $timer);
my $ask = "SELECT sync_explain($worse)->>'lastSource';\n\\echo done\n";

$in .= $ask;
$session->pump until $shown =~ /done/;
is($shown, "CRM\ndone\n", 'a session on the standby decides by the priorities there are');
$node->safe_psql('postgres', q(UPDATE syncext.source_priority SET priority = 0 WHERE source = 'ERP'));
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$shown = '';
$in .= $ask;
$session->pump until $shown =~ /done/;
is($shown, "ERP\ndone\n", 'and, from the next statement, by those that the primary was given');
$in .= "\\q\n";
$session->finish;

# a transaction on the primary that may not write
($code, $stdout, $stderr) = $node->psql('postgres', "BEGIN READ ONLY; SELECT sync_apply($change)");
like($stderr, qr/ERROR:  cannot execute .* in a read-only transaction/, 'a read-only transaction takes no change');
is($node->safe_psql('postgres', "BEGIN READ ONLY; SELECT sync_explain($change)->>'resolution'"), 'NEW_RECORD', 'but explains one');

# promoted, the standby is a hub
$standby->promote;
is($standby->safe_psql('postgres', "SELECT sync_apply($change)->>'resolution'"), 'NEW_RECORD', 'a promoted standby takes changes');

done_testing();
