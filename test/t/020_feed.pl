# The change feed under concurrency: many writers with sleeps, savepoints,
# rollbacks and prepared transactions; targets that build their copies from
# nothing but what they pull.  In the end each copy is the hub's, and no record
# ever went back.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $writers = 8;
my $keys = 80;
my $transactions = $ENV{FEED_TRANSACTIONS} || 150;	# of each writer
my $seed = $ENV{FEED_SEED} || time ^ $$;
srand($seed);
note("FEED_SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('hub');
$node->init;
$node->append_conf('postgresql.conf', <<'END');
max_prepared_transactions = 20
synchronous_commit = off
syncext.retry_base = 1
END
$node->start;
$node->safe_psql('postgres', <<'END');
CREATE EXTENSION syncext;
SELECT sync_add_entity('thing', '{overwrite}');
SELECT sync_add_source('W' || n, n) FROM generate_series(1, 8) n;
SELECT sync_add_source(name) FROM unnest('{plain,shaky,late}'::text[]) name WHERE name <> 'late';
UPDATE syncext.source SET retry_cap = 1000;
END

# ---------- writers ----------

my $prepared = 0;

sub change
{
	my ($writer) = @_;
	my %change = (
		externalId => 'k' . int(rand($keys)),
		source => "W$writer",
		entity => rand() < 0.5 ? 'thing' : 'record',
		version => 1 + int(rand(40)));

	if (rand() < 0.1) { $change{deleted} = JSON::PP::true }
	else { $change{fields} = { a => int(rand(1000)), "f$writer" => int(rand(1000)) } }
	return \%change;
}

sub apply
{
	my ($writer) = @_;
	my @changes = map { change($writer) } 1 .. 1 + (rand() < 0.3 ? int(rand(20)) : 0);
	my $json = encode_json(@changes == 1 ? $changes[0] : \@changes);
	return "SELECT count(sync_apply('$json'));\n";
}

sub pause { return sprintf("SELECT pg_sleep(%.3f);\n", rand() * $_[0]) }

sub transaction
{
	my ($writer) = @_;
	my $kind = rand();

	return apply($writer) if $kind < 0.4;
	my $sql = "BEGIN;\n" . apply($writer) . pause(0.03);
	$sql .= "SAVEPOINT s;\n" . apply($writer) . pause(0.01) . "ROLLBACK TO s;\n" if rand() < 0.3;
	$sql .= "SAVEPOINT t;\n" . apply($writer) . "RELEASE t;\n" if rand() < 0.3;
	$sql .= apply($writer) if rand() < 0.3;
	if ($kind > 0.9)
	{
		my $name = "p" . ++$prepared;
		# A deadlock has already rolled it back, then both fail, harmlessly.
		return $sql . "PREPARE TRANSACTION '$name';\n" . pause(0.05) .
			(rand() < 0.3 ? 'ROLLBACK' : 'COMMIT') . " PREPARED '$name';\n";
	}
	return $sql . ($kind > 0.75 ? 'ROLLBACK' : 'COMMIT') . ";\n";
}

sub start_writer
{
	my ($writer) = @_;
	my $file = $node->basedir . "/writer$writer.sql";

	append_to_file($file, join('', map { transaction($writer) . pause(0.005) } 1 .. $transactions));
	return IPC::Run::start(
		[ 'psql', '-XAtq', '-f', $file, '-d', $node->connstr('postgres') ],
		'>' => '/dev/null', '2>' => $node->basedir . "/writer$writer.err");
}

# ---------- targets ----------

# A target: its copy, its session, its habits.
sub target
{
	my ($name, %habits) = @_;
	return { name => $name, copy => {}, pulls => 0, records => 0, backwards => 0,
		repeated => 0, failures => 0, max => 500, %habits };
}

sub session
{
	my ($target) = @_;
	$target->{session} //= $node->background_psql('postgres', on_error_stop => 0);
	return $target->{session};
}

sub hang_up
{
	my ($target) = @_;
	my $session = delete $target->{session};
	$session->quit if $session;
}

# Writes a record into the target's copy.
sub store
{
	my ($target, $record) = @_;
	my $key = "$record->{entity} $record->{external_id}";
	my $known = $target->{copy}{$key};

	$target->{records}++;
	$target->{backwards}++ if $known && $known->{row_version} > $record->{row_version};
	$target->{copy}{$key} = $record;
}

# Pulls once and stores what came; returns how many records that was.
sub pull
{
	my ($target, $careful) = @_;
	my $max = 1 + int(rand($target->{max}));
	my @rows = map { decode_json($_) } split /\n/, session($target)->query_safe(
		"SELECT to_jsonb(p) FROM sync_pull('$target->{name}', $max) p");

	return 0 unless @rows;
	$target->{pulls}++;
	my %seen;
	$target->{repeated} += grep { $seen{"$_->{entity} $_->{external_id}"}++ } @rows;
	my @failed;
	for my $record (@rows)
	{
		if (!$careful && rand() < ($target->{fails} // 0))
		{
			push @failed, { entity => $record->{entity}, externalId => $record->{external_id},
				error => 'no luck', busy => rand() < 0.5 ? JSON::PP::true : JSON::PP::false };
		}
		else { store($target, $record) }
	}
	$target->{failures} += @failed;
	# Gone before the acknowledgement: the same comes again.
	if (!$careful && rand() < ($target->{forgets} // 0))
	{
		hang_up($target);
		return scalar @rows;
	}
	my $failed = encode_json(\@failed);
	session($target)->query_safe(
		"SELECT sync_ack('$target->{name}', $rows[0]{batch}, '$failed')");
	hang_up($target) if rand() < ($target->{reconnects} // 0);
	return scalar @rows;
}

# What the copy should be, in the form that store() keeps.
sub canonical
{
	my %records;

	for (split /\n/, $node->safe_psql('postgres', <<'END'))
SELECT jsonb_build_object('entity', entity, 'external_id', external_id, 'row_version', row_version,
	'deleted', deleted, 'fields', CASE WHEN deleted THEN '{}' ELSE fields END)
FROM syncext.canonical
END
	{
		my $record = decode_json($_);
		$records{"$record->{entity} $record->{external_id}"} = $record;
	}
	return \%records;
}

sub compare
{
	my ($target) = @_;
	my $name = $target->{name};
	my $canonical = canonical();
	my $json = JSON::PP->new->canonical;
	my @wrong;

	for my $key (sort keys %$canonical)
	{
		my ($is, $should) = ($target->{copy}{$key}, $canonical->{$key});
		# A write that changes no value raises the row version and tells nobody.
		push @wrong, $key
			unless $is && $is->{row_version} <= $should->{row_version} &&
			$json->encode([ @$is{qw(deleted fields)} ]) eq $json->encode([ @$should{qw(deleted fields)} ]);
	}
	is(scalar @wrong, 0, "$name: the copy has every record as the hub has it")
		or diag(join(' ', @wrong));
	is(scalar keys %{ $target->{copy} }, scalar keys %$canonical, "$name: and no other");
	is($target->{backwards}, 0, "$name: no record went back");
	is($target->{repeated}, 0, "$name: no batch had a record twice");
	note("$name: $target->{pulls} pulls, $target->{records} records, $target->{failures} failures");
}

# ---------- together ----------

my @sessions = map { start_writer($_) } 1 .. $writers;
my @targets = (
	target('plain', max => 20),
	target('shaky', max => 40, fails => 0.1, forgets => 0.1, reconnects => 0.3));
my $started = time;

$node->safe_psql('postgres', "UPDATE syncext.cursor SET lease_until = now() WHERE lease_until > now()");
while (grep { $_->pumpable } @sessions)
{
	pull($_) for @targets;
	if (@targets == 2 && time > $started + 1)
	{
		$node->safe_psql('postgres', "SELECT sync_add_source('late')");
		push @targets, target('late', max => 60, reconnects => 0.1);
	}
	sleep(0.005);
}
$_->finish for @sessions;
$node->safe_psql('postgres', "SELECT sync_add_source('late')") if @targets == 2;
push @targets, target('late') if @targets == 2;

# Whatever a deadlock has left in the air
$node->safe_psql('postgres', "ROLLBACK PREPARED '$_'")
	for split /\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts');

my $errors = join '', map { slurp_file($node->basedir . "/writer$_.err") } 1 .. $writers;
my @unexpected = grep { /ERROR/ && !/deadlock|aborted|does not exist|savepoint/ } split /\n/, $errors;
is("@unexpected", '', 'writers met no errors but deadlocks of their own making');

for my $target (@targets)
{
	$node->safe_psql('postgres', "SELECT sync_redrive('$target->{name}')");
	1 while pull($target, 'careful');
	compare($target);
	hang_up($target);
}
is($node->safe_psql('postgres', "SELECT count(*) FROM syncext.outbound_change WHERE target IN ('plain', 'shaky', 'late')"),
	0, 'and nothing is left to deliver');

# A pull that finds nothing writes nothing.
my $before = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn(), txid_current_if_assigned()');
is($node->safe_psql('postgres', "SELECT count(*) FROM sync_pull('plain')"), 0, 'an empty pull');
is($node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn(), txid_current_if_assigned()'), $before,
	'an empty pull writes no WAL');

$node->stop;
done_testing();
