# 040_torture.pl
#	  The change feed under everything at once: writers with sleeps, savepoints,
#	  rollbacks, prepared transactions, batches, deletes and re-inserts; targets
#	  that are slow, that fail, that come late, that lose their connection, that
#	  change the number of their slots; the server killed; sync_maintain with a
#	  short retention all the while.
#
# TORTURE_SECONDS says for how long (make torture), TORTURE_SEED repeats a dice.
#
# The file is longer than 800 lines because the run and its judgement are one
# thing: what a consumer notes is what the judgement reads, column by column, and
# who changes the one has to see the other.  Nobody else has a use for the parts.
# In order:
#
#	a session			psql at the other end of two pipes, and child processes
#	writers				their transactions; who ends what they prepared; maintenance
#	consumers			pulling, taking, acknowledging, failing; the broken ones;
#						handing over when the number of slots changes
#	a run				a hub of its own, who runs in it, what happens meanwhile
#	the judgement		what was noted, by SQL: table torture.verdict
#	the torture			the run that has to come out right
#	broken on purpose	runs that have to come out wrong
#
# Writers and consumers are processes of their own, each with its own psql.  A
# consumer keeps its target's copy and notes every delivery; in the end all of
# that is loaded into schema torture and judged by SQL:
#
#	lost		records that in the end a target has not as the hub has them, or has
#				at a lower row version than that of a change which was due to it
#	reordered	deliveries at a lower row version than the one before of the same
#				record.  A record that was deleted, whose tombstone sync_maintain
#				has removed, and that came back begins anew at row version 1:
#				that is counted apart (born anew), at most once a removal
#	duplicated	deliveries of a record as it was delivered before, in a batch that
#	beyond lease	the target has acknowledged and where it did not fail, and that
#				nothing accounts for.  Three things do.  "Included earlier": records
#				are delivered as they stand at delivery, so the one before already
#				had a change that came in after the window of its batch; that
#				change is due in a later window all the same, and the record with
#				it.  Such a change has to be there: in the log, due to the target,
#				not yet passed by the batch before, within the page of this one.
#				"By backfill": the target was added late or restarted, and the
#				walk through the golden records comes by.  When the number of
#				slots changes, all of them begin where the furthest behind stood,
#				and what the others had beyond that comes once more.  What was not
#				acknowledged, failed, or whose acknowledgement broke off half-way
#				comes again rightly.  A batch that was acknowledged and comes
#				again under its own number is never right
#	contradictory	deliveries of the same row version with other content
#
# The second part breaks the feed on purpose, in the consumer, and expects each
# break to be found.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Open3;
use IO::Select;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Symbol qw(gensym);
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{TORTURE_SECONDS} || 30;
my $seed = $ENV{TORTURE_SEED} || int(time * 1000) % 1_000_000_000;
my $writers = 8;
my $dir = PostgreSQL::Test::Utils::tempdir;
my $db;							# the database of the run
my $began;						# when it began
note("TORTURE_SECONDS=$seconds TORTURE_SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('hub');
$node->init;
# What is committed asynchronously stays unsafe for long: a kill loses much of it.
$node->append_conf('postgresql.conf', <<'END');
max_connections = 60
max_prepared_transactions = 40
synchronous_commit = on
restart_after_crash = off
wal_writer_delay = 3s
log_min_messages = fatal
log_min_error_statement = panic
deadlock_timeout = 100ms
syncext.retry_base = 100
syncext.retry_max = 1s
END
$node->start;

# ---------- a session ----------

# psql at the other end of two pipes.  query() returns the lines that came, or
# undef if the connection broke; the SQLSTATE of the last statement, '00000'
# where all went well, is in {state}.
package TortureSession
{
	sub new
	{
		my ($class, $connstr, @settings) = @_;
		my $self = bless { connstr => $connstr, settings => \@settings, calls => 0 }, $class;

		$self->connect;
		return $self;
	}

	# Waits for a server that is being restarted.
	sub connect
	{
		my ($self) = @_;

		for (1 .. 600)
		{
			$self->{err} = Symbol::gensym();
			$self->{pid} = IPC::Open3::open3($self->{in}, $self->{out}, $self->{err},
				'psql', '-XAtq', '-F', "\t", '-d', $self->{connstr});
			$self->{rest} = '';
			$self->{in}->autoflush(1);
			return if defined $self->query(join(' ', 'SET client_min_messages = fatal;', @{ $self->{settings} }));
			Time::HiRes::sleep(0.1);
		}
		die "the server does not come back\n";
	}

	sub hang_up
	{
		my ($self) = @_;

		return unless $self->{pid};
		kill 'KILL', $self->{pid};
		waitpid $self->{pid}, 0;
		close $self->{$_} for qw(in out err);
		delete $self->{pid};
	}

	sub send
	{
		my ($self, $sql) = @_;
		my $mark = ++$self->{calls};

		print { $self->{in} } "$sql;\n\\echo ==$mark== :LAST_ERROR_SQLSTATE\n";
	}

	sub query
	{
		my ($self, $sql) = @_;

		# what went wrong in an earlier statement of these is told, too
		$self->send("\\set LAST_ERROR_SQLSTATE 00000\n$sql");
		return $self->answer;
	}

	sub answer
	{
		my ($self) = @_;
		my $mark = "==$self->{calls}==";
		my $select = IO::Select->new($self->{out}, $self->{err});
		my $errors = '';

		for (;;)
		{
			if ($self->{rest} =~ s/\A(.*?)(?:^)\Q$mark\E (\w+)\n//ms)
			{
				$self->{state} = $2;
				$self->{message} = $errors;
				return [ split /\n/, $1 ];
			}
			my @ready = Session::readable(120, $select->handles) or die "no answer within two minutes\n";
			for my $file (@ready)
			{
				my $n = sysread($file, my $data, 65536);

				if ($file == $self->{err})
				{
					if ($n) { $errors .= $data }
					else { $select->remove($file) }
				}
				elsif ($n) { $self->{rest} .= $data }
				else
				{
					$self->hang_up;
					$self->{state} = 'broken';
					return undef;
				}
			}
		}
	}

	# The same until it works, whatever happens to the server.
	sub insist
	{
		my ($self, $sql) = @_;

		for (;;)
		{
			my $lines = $self->query($sql);

			return $lines if $lines && $self->{state} eq '00000';
			die "$self->{message} in: $sql\n" if $lines && $self->{state} !~ /^(40|55P03|57)/;
			$self->connect unless $self->{pid};
		}
	}
}

# Runs a function as another process.
my %child;
my $children = 0;
sub child
{
	my ($name, $function) = @_;
	my $number = $children++;
	my $pid = fork() // die "fork: $!";

	if ($pid == 0)
	{
		local $SIG{PIPE} = 'IGNORE';
		srand($seed + 1000 * $number);
		eval { $function->(); 1 } or do {
			append_to_file("$dir/errors", "$name: $@");
			POSIX::_exit(1);
		};
		POSIX::_exit(0);
	}
	$child{$name} = $pid;
}

# Waits for processes; returns the names of those that failed.
sub wait_for
{
	my @failed;

	for my $name (@_)
	{
		waitpid $child{$name}, 0;
		push @failed, $name if $? != 0;
	}
	return "@failed";
}

sub elapsed { return time - $began }
sub chance { return rand() < $_[0] }
sub pick { return $_[ rand @_ ] }

# ---------- writers ----------

# Few keys that all fight for, many that are written seldom: a change that gets
# lost there is not made up for by the next.
my $cold_keys = 3000;
my $written = 0;

sub key { return chance(0.4) ? 'hot' . int(rand(60)) : 'cold' . int(rand($cold_keys)) }

# A change document.  record has the default ladder with its conflicts, item
# one that settles them, thing takes what comes last.
sub document
{
	my ($source, $entity, $key) = @_;
	my $version = 1 + int(elapsed() * 3 + rand(12));
	my $values = chance(0.15) ? '"deleted": true'
		: '"fields": {"a": ' . int(rand(1000)) . ", \"$source\": " . ++$written . '}';

	return qq({"source": "$source", "entity": "$entity", "externalId": "$key", "version": $version, $values});
}

# A call with one change, or a batch.
sub apply
{
	my ($source) = @_;
	my $n = chance(0.2) ? 2 + int(rand(20)) : 1;
	my @documents = map { document($source, pick(qw(record item thing)), key()) } 1 .. $n;

	return "SELECT count(sync_apply('" . ($n > 1 ? '[' . join(', ', @documents) . ']' : $documents[0]) . "'));\n";
}

sub pause { return sprintf("SELECT pg_sleep(%.3f);\n", rand() ** 3 * $_[0]) }

# One transaction of a writer; another process ends those that are prepared.
sub transaction
{
	my ($writer, $n) = @_;
	my $source = "W$writer";

	return apply($source) if chance(0.4);
	my $sql = "BEGIN;\n" . apply($source) . pause(0.1);
	$sql .= "SAVEPOINT s;\n" . apply($source) . pause(0.05) . "ROLLBACK TO s;\n" if chance(0.3);
	$sql .= "SAVEPOINT t;\n" . apply($source) . "RELEASE t;\n" if chance(0.3);
	$sql .= apply($source) if chance(0.3);
	return $sql . "PREPARE TRANSACTION '$source-$n';\n" if chance(0.12);
	return $sql . "ROLLBACK;\n" if chance(0.15);
	# one that goes on for long, with a record of its own
	return "BEGIN;\n" . "SELECT sync_apply('" . document($source, 'thing', "own$writer") . "');\n" .
		"SELECT pg_sleep(" . (1 + rand(2)) . ");\nCOMMIT;\n" if chance(0.01);
	return $sql . "COMMIT;\n";
}

sub writer
{
	my ($writer, $until) = @_;
	my $session = TortureSession->new($node->connstr($db), "SET lock_timeout = '3s';");
	my $n = 0;
	my $asynchronous = 0;

	while (elapsed() < $until)
	{
		# in the middle of the run, so that the second kill finds it so
		my $wanted = elapsed() > 0.5 * $until && elapsed() < 0.8 * $until ? 1 : 0;
		my $sql = $wanted == $asynchronous ? '' :
			'SET synchronous_commit = ' . ($wanted ? 'off' : 'on') . ";\n";

		my $lines = $session->query($sql . transaction($writer, "$$-" . ++$n));
		$asynchronous = $wanted;
		if (!$lines)
		{
			$session->connect;
			$asynchronous = 0;
		}
		# deadlocks and timeouts of their own making; an aborted block
		elsif ($session->{state} ne '00000')
		{
			die "$session->{message}\n" unless $session->{state} =~ /^(40P01|55P03|25P02|3B001|57P0)/;
			# it breaks, or ends what is left of the block
			$session->query('ROLLBACK') or $session->connect;
		}
		sleep(rand() ** 3 * 0.1);
	}
	$session->hang_up;
}

# Ends what others have prepared, some later than others, and decides conflicts.
sub resolver
{
	my ($until) = @_;
	my $session = TortureSession->new($node->connstr($db), "SET lock_timeout = '1s';");

	while (elapsed() < $until)
	{
		for my $gid (@{ $session->insist("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()
			AND prepared < clock_timestamp() - random() ^ 4 * interval '2 s'") })
		{
			$session->query((chance(0.7) ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$gid'") // $session->connect;
		}
		my $decision = pick(qw(canonical incoming dismiss));
		$session->query("SELECT sync_resolve(id, '$decision') FROM syncext.conflict_log
			WHERE status = 'pending' ORDER BY random() LIMIT 1") // $session->connect;
		sleep(0.05);
	}
	$session->hang_up;
}

# Keeps the log short; notes what each call said.
sub maintainer
{
	my ($until) = @_;
	my $session = TortureSession->new($node->connstr($db), "SET syncext.retention = '4s';");

	while (elapsed() < $until)
	{
		my $lines = $session->query('CALL sync_maintain()');

		$session->connect unless $lines;
		die "$session->{message}\n" if $lines && $session->{state} !~ /^(00000|57P0)/;
		append_to_file("$dir/$db.maintained", "$lines->[0]\n") if $lines && @$lines;
		sleep(0.3);
	}
	$session->hang_up;
}

# ---------- consumers ----------

# How the extension takes consumers that share a target, if it does.
my $has_slots;

# A consumer: of which target (and slot), and its habits.
#	  max		records at once, up to		nap		seconds between pulls, up to
#	  fails		chance that a record fails	drops	chance to lose the connection
#	  writes	changes of its own that it	broken	how its feed is broken
#				sends between two pulls
#	  hasty		pulls with synchronous_commit = off
# A target whose number of slots changes has other consumers in each era.
my $per_era = 1_000_000;		# what batches and deliveries are numbered from in each
sub consumer
{
	my ($target, %habits) = @_;
	return { target => $target, slot => 0, slots => 1, max => 100, nap => 0.02, fails => 0,
		drops => 0.04, writes => 0, broken => '', copy => {}, era => 0, last => '', nap_in_batch => 0, %habits };
}

sub consumer_name { return "$db $_[0]{target} $_[0]{slot} era $_[0]{era}" }
sub consumer_file { return "$dir/$db.$_[1].$_[0]{target}.$_[0]{slot}.$_[0]{era}" }
sub era_end { return "$dir/$db.end of $_[0]{target} $_[0]{era}" }

# What is noted goes to files that COPY reads.
sub keep
{
	my ($consumer, $file, @values) = @_;
	my $handle = $consumer->{"file $file"};

	if (!$handle)
	{
		open($handle, '>', consumer_file($consumer, $file)) or die "$!";
		$consumer->{"file $file"} = $handle;
	}
	print $handle join("\t", map { $_ // '\N' } @values), "\n" or die "$!";
}

sub drop
{
	my ($consumer) = @_;
	$consumer->{session}->hang_up;
	$consumer->{session}->connect;
	$consumer->{dropped}++;
}

# The statement that pulls: one that works, or one of those that don't.
#	  seq	remembers the highest number, so passes over what commits later
#	  xid	goes through the log itself in order of transactions that have ended
#	  echo	leaves out the records whose last writer is the target
sub pull_statement
{
	my ($consumer) = @_;
	my $max = 1 + int(rand($consumer->{max}));
	my $target = $consumer->{target};
	my $columns = 'batch, entity, external_id, row_version, deleted, correction, attempt, fields';
	my $slots = $has_slots ? ", $consumer->{slot}, $consumer->{slots}" : '';
	my $last = $consumer->{last};

	if ($consumer->{broken} eq 'seq')
	{
		$last ||= 0;
		return "WITH page AS (SELECT seq, entity, external_id FROM syncext.change_log l
				WHERE seq > $last AND told IN ('others', 'all') ORDER BY seq LIMIT $max)
			SELECT p.seq, entity, external_id, row_version, deleted, false, 1,
				CASE WHEN deleted THEN '{}' ELSE fields END
			FROM page p JOIN syncext.canonical c USING (entity, external_id) ORDER BY 1;";
	}
	if ($consumer->{broken} eq 'xid')
	{
		$last ||= '0 0';
		my ($xid, $seq) = split / /, $last;
		return "SELECT xid || ' ' || seq, entity, external_id, row_version, false, false, 1, fields
			FROM syncext.change_log WHERE (xid, seq) > ('$xid', $seq) AND told IN ('others', 'all')
			AND xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid, seq LIMIT $max;";
	}
	my $hasty = $consumer->{hasty} ? 'SET synchronous_commit = off; ' : '';
	return "${hasty}SELECT $columns FROM sync_pull('$target', $max$slots)" .
		($consumer->{broken} eq 'echo' ? " WHERE last_source <> '$target';" : ';') . "
		SELECT 'cut', lo.snapshot, hi.snapshot, c.end_xid, c.end_seq, c.backfill_entity, c.backfill_id,
			c.end_backfill_id, c.batch
		FROM syncext.cursor c JOIN syncext.tick lo ON lo.id = c.lo LEFT JOIN syncext.tick hi ON hi.id = c.hi
		WHERE c.target = '$target' AND c.slot = $consumer->{slot} AND c.lease_until IS NOT NULL;";
}

# Takes a record into the copy.
sub store
{
	my ($consumer, $record) = @_;
	my ($entity, $id, $row_version, $deleted, undef, undef, $fields) = @$record;

	$consumer->{copy}{"$entity $id"} = [ $row_version, $deleted, $fields ];
}

# Writes down a batch and what became of each of its records.
sub note_batch
{
	my ($consumer, $batch, $cut, $records, $outcome, $failed) = @_;
	my $n = ++$consumer->{n};
	my ($target, $slot) = @$consumer{qw(target slot)};
	my @cut = $cut ? map { $_ eq '' ? undef : $_ } @$cut : (undef) x 7;

	keep($consumer, 'batch', $target, $slot, $n, $batch, @cut[ 0 .. 6 ], $outcome);
	for my $record (@$records)
	{
		keep($consumer, 'delivery', $target, $slot, $n, ++$consumer->{deliveries}, @$record,
			$failed->{"$record->[0] $record->[1]"} ? 'failed' : $outcome);
	}
}

# Pulls once, takes what came, acknowledges it.  Returns how many records came.
sub pull
{
	my ($consumer, $careful) = @_;
	my $session = $consumer->{session};
	my $drops = sub { return !$careful && chance($consumer->{drops} / 4) };
	my (@records, %failed, $batch, $cut);

	if ($drops->())
	{
		$session->send(pull_statement($consumer));
		sleep(rand() * 0.01);
		drop($consumer);
		return 0;
	}
	my $lines = $session->query(pull_statement($consumer));
	if (!$lines)
	{
		$session->connect;
		return 0;
	}
	if ($session->{state} ne '00000')
	{
		# of the era before a batch may be out that nobody has been told of
		die "$session->{message}\n" unless $session->{state} =~ /^(57P0|40|55006)/;
		return 0;
	}
	for (@$lines)
	{
		my @values = split /\t/, $_, -1;

		if ($values[0] eq 'cut') { (undef, @$cut) = @values }
		else
		{
			$batch = shift @values;
			push @records, \@values;
		}
	}
	# all of an echo's batch may have been left out
	$batch //= $cut->[7] if $consumer->{broken} eq 'echo' && $cut;
	return 0 unless defined $batch;
	# it was restarted between the two statements
	$cut = undef if $cut && $cut->[7] != $batch;

	my $upto = $drops->() ? int(rand(@records + 1)) : @records;
	for my $record (@records[ 0 .. $upto - 1 ])
	{
		if (!$careful && chance($consumer->{fails})) { $failed{"$record->[0] $record->[1]"} = $record }
		else { store($consumer, $record) }
	}
	sleep(rand() * $consumer->{nap_in_batch}) if $consumer->{nap_in_batch} && !$careful;
	if ($upto < @records || $drops->())
	{
		note_batch($consumer, $batch, $cut, \@records, 'dropped', {});
		drop($consumer);
		return scalar @records;
	}
	note_batch($consumer, $batch, $cut, \@records, acknowledge($consumer, $batch, \%failed, $drops->()), \%failed);
	return scalar @records;
}

# Returns what became of it: acked; doubt: nobody knows; refused.
sub acknowledge
{
	my ($consumer, $batch, $failed, $drops) = @_;
	my $session = $consumer->{session};
	my $list = join ', ', map {
		qq({"entity": "$_->[0]", "externalId": "$_->[1]", "error": "no luck", "busy": ) . (chance(0.2) ? 'true' : 'false') . '}'
	} values %$failed;

	if ($consumer->{broken} =~ /seq|xid/)
	{
		$consumer->{last} = $batch;
		return 'acked';
	}
	# claims what it has not done
	return 'acked' if $consumer->{broken} eq 'again' && chance(0.1);

	my $slots = $has_slots && $has_slots =~ /ack/ ? ", slot => $consumer->{slot}" : '';
	my $sql = "SET synchronous_commit = on; SELECT sync_ack('$consumer->{target}', $batch, '[$list]'$slots);";
	if ($drops)
	{
		$session->send($sql);
		sleep(rand() * 0.005);
		drop($consumer);
		return 'doubt';
	}
	if (!$session->query($sql))
	{
		$session->connect;
		return 'doubt';
	}
	return 'acked' if $session->{state} eq '00000';
	return 'doubt' if $session->{state} =~ /^57P0/;
	# too far behind: it was restarted meanwhile, or its lease had ended
	return 'refused' if $session->{message} =~ /not the one that is out/;
	die "$session->{message}\n";
}

# A change of the target's own, which goes into its copy as it makes it.  It is
# sent until it is answered: what was answered is what the hub has of it.
sub write_own
{
	my ($consumer) = @_;
	my ($entity, $key) = (pick(qw(item thing)), key());

	# what another writer has just written, and the target has maybe not got yet
	if (chance(0.5))
	{
		my $lines = $consumer->{session}->insist("SELECT entity, external_id FROM torture.log
			WHERE source <> '$consumer->{target}' AND entity <> 'record' ORDER BY seq DESC LIMIT 10");
		($entity, $key) = split /\t/, pick(@$lines) if @$lines;
	}
	my $document = document($consumer->{target}, $entity, $key);
	my $known = $consumer->{copy}{"$entity $key"};
	my $before = !$known || $known->[1] eq 't' ? '{}' : $known->[2];
	my $deleted = $document =~ /"deleted": true/;
	# what it doesn't have it makes: nothing of an earlier life comes back untold
	$document =~ s/^\{/{"created": true, / if !$deleted && (!$known || $known->[1] eq 't');
	my ($line) = @{ $consumer->{session}->insist("SELECT a->>'rowVersion', a->>'told', a->>'status',
		'$before'::jsonb || coalesce('$document'::jsonb->'fields', '{}') FROM sync_apply('$document') a;") };
	my ($row_version, $told, $status, $fields) = split /\t/, $line;

	die "$document was answered $status\n" if $status ne '200';
	# all of it was refused: the truth comes by delivery
	return if $told eq 'origin';
	my @record = ($entity, $key, $row_version, $deleted ? 't' : 'f', 'f', 1, $deleted ? '{}' : $fields);
	store($consumer, \@record);
	keep($consumer, 'delivery', $consumer->{target}, $consumer->{slot}, 0, ++$consumer->{deliveries}, @record, 'own');
}

sub left_to_deliver
{
	my ($consumer) = @_;
	return $consumer->{session}->insist(
		"SELECT count(*) FROM syncext.outbound_change WHERE target = '$consumer->{target}'")->[0];
}

# Writes down what it has of the target's copy.
sub keep_copy
{
	my ($consumer, $file) = @_;

	for (sort keys %{ $consumer->{copy} })
	{
		my ($entity, $id) = split / /;
		keep($consumer, $file, $consumer->{target}, $consumer->{slot}, $entity, $id, @{ $consumer->{copy}{$_} });
	}
	keep($consumer, 'habit', $consumer->{target}, $consumer->{slot}, $consumer->{dropped} // 0);
	for (grep { /^file / } keys %$consumer) { close $consumer->{$_} or die "$!" }
	$consumer->{session}->hang_up;
}

# Takes over what the consumers of the era before had of its records.
sub take_over
{
	my ($consumer) = @_;

	for (@{ $consumer->{session}->insist("SELECT entity, external_id, row_version, deleted, fields FROM torture.handed
		WHERE target = '$consumer->{target}' AND era = $consumer->{era}
		AND syncext.record_slot(entity, external_id, $consumer->{slots}) = $consumer->{slot}") })
	{
		my ($entity, $id, @state) = split /\t/;
		$consumer->{copy}{"$entity $id"} = \@state;
	}
}

# Ends an era: settles the batch that is out, leaves the copy to whom it may concern.
sub hand_over
{
	my ($consumer) = @_;

	do { pull($consumer, 'careful') }
	  while $consumer->{session}->insist("SELECT count(*) FROM syncext.cursor WHERE target = '$consumer->{target}'
		AND slot = $consumer->{slot} AND lease_until > clock_timestamp()")->[0];
	keep_copy($consumer, 'handed');
}

# Consumes until the writers are done, then whatever is left; or until its era ends.
sub consume
{
	my ($consumer, $until) = @_;
	my $settings = $consumer->{lease} ? "SET syncext.lease = '$consumer->{lease}';" : '';

	$consumer->{session} = TortureSession->new($node->connstr($db), $settings);
	$consumer->{n} = $consumer->{deliveries} = $consumer->{era} * $per_era;
	take_over($consumer) if $consumer->{era};
	while (!-e "$dir/$db.drain")
	{
		return hand_over($consumer) if -e era_end($consumer);
		for (1 .. $consumer->{writes})
		{
			write_own($consumer) if elapsed() < $until;
		}
		pull($consumer) or sleep(0.01);
		sleep(rand() * $consumer->{nap});
	}
	my $deadline = time + 120;
	for (;;)
	{
		next if pull($consumer, 'careful');
		last if $consumer->{broken} =~ /seq|xid/ || !left_to_deliver($consumer);
		$consumer->{session}->insist("SELECT sync_redrive('$consumer->{target}')");
		die left_to_deliver($consumer) . " records are never delivered\n" if time > $deadline;
		sleep(0.05);
	}
	keep_copy($consumer, 'copy');
}

# ---------- a run ----------

# Makes a hub of its own, with tables that keep what the judgement needs: all
# of the log, though sync_maintain removes it, and which tombstones went.
sub make_hub
{
	my ($name, @sources) = @_;

	$db = $name;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, <<'END');
CREATE EXTENSION syncext;
SELECT sync_add_entity('item', '{version,merge,priority,keep}'), sync_add_entity('thing', '{overwrite}');
SELECT sync_add_source('W' || n, CASE WHEN n < 5 THEN n END) FROM generate_series(1, 8) n;
-- Nobody pulls for these; they write.
SELECT sync_subscribe('W' || n, '{}') FROM generate_series(1, 8) n;
CREATE SCHEMA torture;
CREATE TABLE torture.log (xid xid8, seq bigint, entity text COLLATE "C", external_id text COLLATE "C",
	source text COLLATE "C", row_version bigint, told "char");
CREATE INDEX ON torture.log (seq);
CREATE TABLE torture.removed (entity text COLLATE "C", external_id text COLLATE "C", row_version bigint);
CREATE TABLE torture.batch (target text, slot int, n int, batch text, lo pg_snapshot, hi pg_snapshot,
	end_xid xid8, end_seq bigint, backfill_entity text COLLATE "C", backfill_id text COLLATE "C",
	end_backfill_id text COLLATE "C", outcome text, PRIMARY KEY (target, slot, n));
CREATE TABLE torture.delivery (target text, slot int, n int, i int, entity text COLLATE "C",
	external_id text COLLATE "C", row_version bigint, deleted bool, correction bool, attempt int,
	fields jsonb, outcome text);
CREATE TABLE torture.copy (target text, slot int, entity text COLLATE "C", external_id text COLLATE "C",
	row_version bigint, deleted bool, fields jsonb);
CREATE TABLE torture.habit (target text, slot int, dropped int);
CREATE TABLE torture.handed (LIKE torture.copy, era int);
CREATE FUNCTION torture.keep_log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO torture.log VALUES (new.xid, new.seq, new.entity, new.external_id, new.source, new.row_version, new.told);
	RETURN NULL; END $$;
CREATE FUNCTION torture.keep_removed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO torture.removed VALUES (old.entity, old.external_id, old.row_version);
	RETURN NULL; END $$;
DO $$ BEGIN FOR i IN 0 .. 3 LOOP
	EXECUTE format('CREATE TRIGGER keep AFTER INSERT ON syncext.change_log_%s
		FOR EACH ROW EXECUTE FUNCTION torture.keep_log()', i);
END LOOP; END $$;
CREATE TRIGGER keep AFTER DELETE ON syncext.canonical FOR EACH ROW EXECUTE FUNCTION torture.keep_removed();
END
	$node->safe_psql($db, "SELECT sync_add_source('$_')") for @sources;
}

# Kills every process of the server, the postmaster first so that it doesn't
# notice that the others go, and starts it again.
sub kill_and_start
{
	my $session = TortureSession->new($node->connstr('postgres'));
	my $pids = $session->insist('SELECT pid FROM pg_stat_activity');

	$node->kill9;
	kill 'KILL', @$pids;
	$session->hang_up;
	for (1 .. 200)
	{
		return 1 if $node->start(fail_ok => 1);
		# the killed server's memory may be in use for another moment
		$node->stop('fast', fail_ok => 1);
		sleep(0.1);
	}
	return 0;
}

# Lets writers and consumers go, with what happens meanwhile ([when, function]),
# then the consumers drain.  Consumers of a target that isn't there yet start
# when it is, by start_consumers().
sub start_consumers
{
	my ($until, @consumers) = @_;

	for my $consumer (@consumers)
	{
		child(consumer_name($consumer), sub { consume($consumer, $until) });
	}
}

# Lets a target's consumers end and others begin, so many of them; returns those.
# The writers go on.
sub change_slots
{
	my ($until, $slots, @old) = @_;
	my $era = $old[0]{era} + 1;
	my @new = map { +{ %{ $old[0] }, slot => $_, slots => $slots, era => $era } } 0 .. $slots - 1;

	append_to_file(era_end($old[0]), '');
	is(wait_for(map { consumer_name($_) } @old), '', "$old[0]{target}: the consumers of " . @old . ' slots handed over');
	delete $child{ consumer_name($_) } for @old;
	for my $consumer (grep { -s consumer_file($_, 'handed') } @old)
	{
		$node->safe_psql($db, "\\copy torture.handed (target, slot, entity, external_id, row_version, deleted, fields) from '"
			  . consumer_file($consumer, 'handed') . "'");
	}
	$node->safe_psql($db, "UPDATE torture.handed SET era = $era WHERE era IS NULL");
	start_consumers($until, @new);
	return @new;
}

sub run
{
	my ($until, $consumers, $maintain, @events) = @_;
	my @writing = map { "$db writer $_" } 1 .. $writers;

	$began = time;
	for my $writer (1 .. $writers)
	{
		child("$db writer $writer", sub { writer($writer, $until) });
	}
	child("$db resolver", sub { resolver($until) });
	child("$db maintainer", sub { maintainer($until + 1) }) if $maintain;
	start_consumers($until, @$consumers);
	for my $event (@events)
	{
		sleep(0.05) while elapsed() < $event->[0];
		$event->[1]->();
	}
	is(wait_for(@writing, "$db resolver"), '', "$db: every writer came through");
	# What nobody has ended
	for (split /\n/, $node->safe_psql($db, 'SELECT gid FROM pg_prepared_xacts WHERE database = current_database()'))
	{
		$node->safe_psql($db, (chance(0.5) ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$_'");
	}
	my @consuming = grep { /^$db / && !/writer|resolver/ } sort keys %child;
	append_to_file("$dir/$db.drain", '');
	is(wait_for(@consuming), '', "$db: every consumer came through");
	diag(slurp_file("$dir/errors")) if -e "$dir/errors";
	for my $table (qw(batch delivery copy habit))
	{
		for my $file (glob "$dir/$db.$table.*")
		{
			$node->safe_psql($db, "\\copy torture.$table from '$file'");
		}
	}
	judge();
	note(sprintf('%s: %.0f seconds in all, %s', $db, elapsed(), $node->safe_psql($db,
		"SELECT count(*) || ' changes of ' || count(DISTINCT (entity, external_id)) || ' records in ' || count(DISTINCT xid) || ' transactions' FROM torture.log")));
}

# ---------- the judgement ----------

# Makes table torture.verdict, a row a target.
sub judge
{
	$node->safe_psql($db, <<"END");
CREATE INDEX ON torture.log (entity, external_id, seq);
CREATE INDEX ON torture.removed (entity, external_id);
CREATE INDEX ON torture.copy (target, entity, external_id);
ANALYZE torture.log, torture.removed, torture.copy, torture.delivery, torture.batch, syncext.canonical;

CREATE FUNCTION torture.due(told "char", source text, target text) RETURNS bool LANGUAGE sql IMMUTABLE AS \$\$
	SELECT CASE told WHEN 'a' THEN true WHEN 'o' THEN source <> target WHEN 'r' THEN source = target ELSE false END \$\$;

CREATE TABLE torture.lost AS
	SELECT t.target, r.entity, r.external_id, c.slot, 'differs' AS why
	FROM (SELECT DISTINCT target FROM torture.habit) t
	CROSS JOIN syncext.canonical r
	LEFT JOIN torture.copy c ON c.target = t.target AND c.entity = r.entity AND c.external_id = r.external_id
	WHERE c.target IS NULL OR c.deleted <> r.deleted OR c.row_version > r.row_version
		OR c.fields <> CASE WHEN r.deleted THEN '{}' ELSE r.fields END
	UNION ALL
	SELECT c.target, c.entity, c.external_id, c.slot, 'is not there any more'
	FROM torture.copy c
	WHERE NOT EXISTS (SELECT FROM syncext.canonical r WHERE r.entity = c.entity AND r.external_id = c.external_id)
	AND NOT (c.deleted AND EXISTS (SELECT FROM torture.removed d WHERE d.entity = c.entity AND d.external_id = c.external_id))
	UNION ALL
	SELECT c.target, c.entity, c.external_id, c.slot, 'never got row version ' || max(l.row_version)
	FROM torture.copy c JOIN torture.log l ON l.entity = c.entity AND l.external_id = c.external_id
	WHERE torture.due(l.told, l.source, c.target) AND l.row_version > c.row_version
	AND NOT EXISTS (SELECT FROM torture.removed d WHERE d.entity = c.entity AND d.external_id = c.external_id)
	GROUP BY 1, 2, 3, 4;

-- each delivery with the one before of the record, which another slot may have had
CREATE TABLE torture.step AS
	SELECT d.*, lag(d.row_version) OVER w AS row_version_before, lag(d.n) OVER w AS n_before, lag(d.slot) OVER w AS slot_before,
		lag(d.outcome) OVER w AS outcome_before, lag((d.deleted, d.fields)::text) OVER w = (d.deleted, d.fields)::text AS same
	FROM torture.delivery d
	WINDOW w AS (PARTITION BY d.target, d.entity, d.external_id ORDER BY d.i);

CREATE TABLE torture.backward AS
	SELECT s.*, row_number() OVER (PARTITION BY target, entity, external_id ORDER BY i) <=
		(SELECT count(*) FROM torture.removed d WHERE d.entity = s.entity AND d.external_id = s.external_id) AS born_anew
	FROM torture.step s WHERE s.row_version < s.row_version_before;

CREATE TABLE torture.repeated AS
	SELECT s.*, CASE
		WHEN b.batch = a.batch THEN 'batch again'
		WHEN EXISTS (SELECT FROM torture.log l
			WHERE l.entity = s.entity AND l.external_id = s.external_id AND l.row_version <= s.row_version
			AND torture.due(l.told, l.source, s.target)
			-- the batch before hadn't passed it, or is of another era
			AND (s.n / $per_era <> s.n_before / $per_era OR NOT pg_visible_in_snapshot(l.xid, coalesce(a.hi, a.lo))
				OR a.hi IS NOT NULL AND NOT pg_visible_in_snapshot(l.xid, a.lo) AND (l.xid, l.seq) > (a.end_xid, a.end_seq))
			-- this one has it
			AND b.hi IS NOT NULL AND pg_visible_in_snapshot(l.xid, b.hi) AND NOT pg_visible_in_snapshot(l.xid, b.lo)
			AND (l.xid, l.seq) <= (b.end_xid, b.end_seq))
			THEN CASE WHEN s.n / $per_era <> s.n_before / $per_era THEN 'slots changed' ELSE 'included earlier' END
		WHEN s.entity = b.backfill_entity AND s.external_id > coalesce(b.backfill_id, '')
			AND s.external_id <= b.end_backfill_id THEN 'by backfill'
		-- restarted between the pull and the look at its cursor: where it was cut nobody knows
		WHEN a.lo IS NULL OR b.lo IS NULL THEN 'unknown'
		ELSE 'unaccounted' END AS reason
	FROM torture.step s
	JOIN torture.batch b ON (b.target, b.slot, b.n) = (s.target, s.slot, s.n)
	JOIN torture.batch a ON (a.target, a.slot, a.n) = (s.target, s.slot_before, s.n_before)
	WHERE s.outcome_before = 'acked' AND s.row_version = s.row_version_before AND s.same;

-- one that begins anew may come to an old row version again
CREATE TABLE torture.contradiction AS
	SELECT target, slot, entity, external_id, row_version
	FROM torture.delivery d
	WHERE outcome <> 'own'
	AND NOT EXISTS (SELECT FROM torture.removed r WHERE r.entity = d.entity AND r.external_id = d.external_id)
	GROUP BY 1, 2, 3, 4, 5 HAVING count(DISTINCT (deleted, fields)) > 1;

CREATE TABLE torture.verdict AS
	SELECT h.target, h.slots, h.dropped,
		(SELECT count(*) FROM torture.delivery d WHERE d.target = h.target AND outcome <> 'own') AS deliveries,
		(SELECT count(*) FROM torture.delivery d WHERE d.target = h.target AND outcome = 'failed') AS failed,
		(SELECT count(*) FROM torture.batch b WHERE b.target = h.target AND outcome IN ('dropped', 'doubt')) AS unacknowledged,
		(SELECT count(*) FROM torture.batch b WHERE b.target = h.target AND outcome = 'refused') AS refused,
		(SELECT count(DISTINCT (entity, external_id)) FROM torture.lost l WHERE l.target = h.target) AS lost,
		(SELECT count(*) FROM torture.repeated r WHERE r.target = h.target AND reason IN ('batch again', 'unaccounted')) AS duplicated,
		(SELECT count(*) FROM torture.repeated r WHERE r.target = h.target AND reason = 'included earlier') AS included,
		(SELECT count(*) FROM torture.repeated r WHERE r.target = h.target AND reason = 'by backfill') AS backfill,
		(SELECT count(*) FROM torture.repeated r WHERE r.target = h.target AND reason = 'slots changed') AS changed,
		(SELECT count(*) FROM torture.repeated r WHERE r.target = h.target AND reason = 'unknown') AS unknown,
		(SELECT count(*) FROM torture.backward b WHERE b.target = h.target AND NOT born_anew) AS reordered,
		(SELECT count(*) FROM torture.backward b WHERE b.target = h.target AND born_anew) AS born_anew,
		(SELECT count(*) FROM torture.contradiction c WHERE c.target = h.target) AS contradictory,
		(SELECT count(*) FROM (SELECT FROM torture.delivery d WHERE d.target = h.target AND outcome <> 'own'
			GROUP BY n / $per_era, entity, external_id HAVING count(DISTINCT slot) > 1) two) AS two_slots
	FROM (SELECT target, count(*) AS slots, sum(dropped) AS dropped FROM torture.habit GROUP BY 1) h;
END
}

# Returns a target's row, after printing it.
sub verdict
{
	my ($target) = @_;
	my %row;

	for (split /\n/, $node->safe_psql($db,
		"SELECT key || ' ' || value FROM torture.verdict v, jsonb_each_text(to_jsonb(v)) WHERE target = '$target'"))
	{
		my ($key, $value) = split / /;
		$row{$key} = $value;
	}
	note("$db: $target: $row{deliveries} deliveries, $row{failed} failed, $row{unacknowledged} batches cut off,"
		  . " $row{refused} acknowledged too late; lost $row{lost}, duplicated beyond lease $row{duplicated},"
		  . " reordered $row{reordered}; delivered again: $row{included} included earlier, $row{backfill} by backfill,"
		  . " $row{changed} as the slots changed, $row{unknown} unknown; born anew $row{born_anew}");
	return \%row;
}

# Prints some of what is wrong.
sub show
{
	my ($query) = @_;
	diag($node->safe_psql($db, "$query LIMIT 8"));
}

sub expect_right
{
	my ($target) = @_;
	my $row = verdict($target);

	cmp_ok($row->{deliveries}, '>', 0, "$target: it was served");
	is($row->{lost}, 0, "$target: its copy is the hub's, nothing was lost")
		or show("SELECT l.*, r.row_version, r.deleted, r.fields, c.row_version, c.deleted, c.fields FROM torture.lost l
			LEFT JOIN syncext.canonical r USING (entity, external_id)
			LEFT JOIN torture.copy c USING (target, entity, external_id) WHERE target = '$target'"),
			show("SELECT d.* FROM torture.lost l JOIN torture.delivery d USING (target, entity, external_id)
				WHERE target = '$target' ORDER BY entity, external_id, i");
	is($row->{duplicated}, 0, "$target: nothing was duplicated beyond its lease")
		or show("SELECT * FROM torture.repeated WHERE reason IN ('batch again', 'unaccounted') AND target = '$target'");
	is($row->{reordered}, 0, "$target: no record went back")
		or show("SELECT * FROM torture.backward WHERE NOT born_anew AND target = '$target'");
	is($row->{contradictory}, 0, "$target: a row version has one content")
		or show("SELECT d.* FROM torture.contradiction JOIN torture.delivery d USING (target, slot, entity, external_id, row_version) WHERE target = '$target'");
	is($row->{two_slots}, 0, "$target: no record came to two consumers at a time");
	return $row;
}

# ---------- the torture ----------

make_hub('torture', qw(slow shaky parted spoke));
my $functions = $node->safe_psql($db,
	"SELECT string_agg(proname, ' ') FROM pg_proc WHERE proname IN ('sync_pull', 'sync_ack') AND 'slot' = ANY (proargnames)");
$has_slots = $functions =~ /sync_pull/ ? $functions : '';
note($has_slots ? 'target parted has 3 slots, then 5, then 2' : 'sync_pull has no slots: target parted has one consumer, and is plain and fast');

my $slots = $has_slots ? 3 : 1;
my @parted = map { consumer('parted', slot => $_, slots => $slots, max => 500, hasty => 1, lease => '10s') } 0 .. $slots - 1;
my @consumers = (
	consumer('slow', max => 3000, nap => 0.4, nap_in_batch => 1.5, lease => '1s'),
	consumer('shaky', fails => 0.2, drops => 0.1),
	@parted,
	consumer('spoke', writes => 2, max => 200));

my $change = sub { @parted = change_slots($seconds, $_[0], @parted) if $has_slots };

run($seconds, \@consumers, 1,
	[ 0.2 * $seconds, sub { $change->(5) } ],
	[ 0.3 * $seconds, sub { ok(kill_and_start(), 'the server was killed, and recovers') } ],
	[ 0.45 * $seconds, sub {
		$node->safe_psql($db, "SELECT sync_add_source('late')");
		start_consumers($seconds, consumer('late', max => 200));
	} ],
	[ 0.6 * $seconds, sub { $change->(2) } ],
	[ 0.7 * $seconds, sub { ok(kill_and_start(), 'and again, while writers commit asynchronously') } ]);

my %seen;
for my $target (qw(slow shaky parted spoke late))
{
	my $row = expect_right($target);
	$seen{$_} += $row->{$_} for keys %$row;
}
note("in all: lost $seen{lost}, duplicated beyond lease $seen{duplicated}, reordered $seen{reordered}");

# The run was what it is meant to be.
is($node->safe_psql($db, "SELECT string_agg(DISTINCT slots::text, ' ') FROM (SELECT count(DISTINCT slot) AS slots
	FROM torture.delivery WHERE target = 'parted' GROUP BY n / $per_era) e"), '2 3 5', 'the number of slots changed meanwhile')
  if $has_slots;
cmp_ok($seen{failed}, '>', 0, 'deliveries failed');
cmp_ok($seen{unacknowledged}, '>', 0, 'consumers lost their connection');
my $maintained = slurp_file("$dir/torture.maintained");
my $count = sub { my $n = () = $maintained =~ /$_[0]/g; return $n };
note('sync_maintain: ' . $count->('"rotated"') . ' rotations, ' . $count->('"truncated": \["') . ' truncations, ' .
	  $count->('"restarted": \["') . ' restarts of targets, ' .
	  $node->safe_psql($db, 'SELECT count(*) FROM torture.removed') . ' tombstones removed');
cmp_ok($count->('"truncated": \["'), '>', 0, 'the change log was truncated meanwhile');
is($node->safe_psql($db, q(SELECT string_agg(kind, ' ') FROM (
	SELECT 'deleted' AS kind WHERE EXISTS (SELECT FROM torture.delivery WHERE deleted)
	UNION ALL SELECT 'correction' WHERE EXISTS (SELECT FROM torture.delivery WHERE correction)
	UNION ALL SELECT 'retry' WHERE EXISTS (SELECT FROM torture.delivery WHERE attempt > 1)) k)),
	'deleted correction retry', 'there were deletes, corrections and retries');

# ---------- broken on purpose ----------

make_hub('mutants', qw(honest seq xid again echo));
my $short = $seconds < 30 ? $seconds / 3 : 10;

run($short,
	[ consumer('honest'), consumer('seq', broken => 'seq', max => 40), consumer('xid', broken => 'xid', max => 400),
	  consumer('again', broken => 'again'), consumer('echo', broken => 'echo', writes => 5, nap => 0.3) ], 0);
expect_right('honest');
cmp_ok(verdict('seq')->{lost}, '>', 0, 'a cursor that is a number loses changes, and that is found');
cmp_ok(verdict('echo')->{lost}, '>', 0, 'telling by the last origin alone loses changes, and that is found');
cmp_ok(verdict('xid')->{reordered}, '>', 0, 'a cursor in order of transactions brings records back, and that is found');
cmp_ok(verdict('again')->{duplicated}, '>', 0, 'an acknowledged batch that comes again is found');

$node->stop;
done_testing();
