# 090_operations.pl
#	  What operators do in a year, in a minute: a hub with a standby and three spokes
#	  under load, whose workers exchange, while at random servers are killed, links cut,
#	  ended and made anew, tables detached and attached, columns added, databases
#	  restored from backups that are some seconds old, copied, replaced, promoted and
#	  upgraded.  In the end all nodes are equal, or it is told what differs, and every
#	  edit that was acknowledged is in the record, was overwritten, or is told of.
#
# OPERATIONS_SECONDS is for how long (make torture), OPERATIONS_SEED repeats a dice (but
# not who was faster), OPERATIONS_STEPS="kill cut" does these things alone.
#
# Every value is written once in all.  Each acknowledged edit is noted here, outside of
# the servers.  The judgement of one that doesn't stand in the hub's record:
#
#	in the hub's log	the record is what the log says, change by change (judged as a
#						whole): a later change wrote over it, or it was lost there
#	written over at its own node before it was sent: that edit is judged
#	in the log of a hub that was restored or failed over since, as lost there, or as
#						written over there by another one, which is judged; or it stood
#						there, and the record was deleted since at the hub that is left
#	told				a row of syncext.capture_failure, a dead letter
#	deleted by others	a delete, of a record that the hub didn't have, or not any more,
#						before another edit that came later made it anew: it has nothing
#						to log then
#	gone with what an operator threw away: made at a database after the backup that was
#						restored, or the replica that was promoted, had been taken, and
#						come to no other that is left
#	else				lost; or untold, where a hub had taken it once
#
# The settings of the run that is judged: a node that differs from the records is told of
# by a dead letter, a pending conflict or a capture failure, or it counts as differing.

use strict;
use warnings;

use Cwd;
use File::Path qw(rmtree);
use FindBin;
use lib $FindBin::RealBin;
use Convergence;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{OPERATIONS_SECONDS} || 30;
my $seed = $ENV{OPERATIONS_SEED} // int(time * 1000) % 1_000_000_000;
srand($seed);
diag("OPERATIONS_SECONDS=$seconds OPERATIONS_SEED=$seed");
$SIG{PIPE} = 'IGNORE';

my @spokes = qw(a b c);
my @places = ('hub', @spokes);
my %source = (hub => 'Desk', a => 'A', b => 'B', c => 'C');
my @entities = qw(item remark);
my @fields = qw(a b);
my $keys = 12;
my $columns_max = 3;			# columns x1, x2, ... that are added to item

my %place;						# name: cluster, session, columns, backup
my @edits;						# every edit that was acknowledged
my (%edit_of_value, @lost_logs);
my $standby;
my $old_primary;				# of the last promotion
my ($clusters, $backups, $copied) = (0, 0, 0);
my $here = cwd();
my %done;						# step: how often
my @steps_done;					# edits until then, when, which

sub chance { return rand() < $_[0] }
sub pick { return $_[ rand @_ ] }

# ---------- servers ----------

my $conf = <<'END';
fsync = off
wal_level = replica
max_wal_senders = 5
wal_keep_size = 128MB
max_connections = 40
max_worker_processes = 12
shared_buffers = 16MB
min_wal_size = 32MB
max_wal_size = 64MB
checkpoint_timeout = 30min
shared_preload_libraries = 'syncext'
restart_after_crash = on
log_min_messages = warning
deadlock_timeout = 100ms
syncext.retry_base = 100
syncext.retry_max = 1s
syncext.link_interval = 1s
syncext.link_timeout = 5s
END

sub new_cluster
{
	my $cluster = PostgreSQL::Test::Cluster->new('op' . ++$clusters);

	$cluster->init(allows_streaming => 1, extra => [ '--wal-segsize=1' ]);
	$cluster->append_conf('postgresql.conf', $conf);
	$cluster->start;
	return $cluster;
}

sub drop_session
{
	my ($name) = @_;
	my $session = delete $place{$name}{session} or return;

	close $session->{in};
	close $session->{out};
	waitpid $session->{pid}, 0;
}

# Returns what came and what went wrong; nothing if the server isn't there.
sub ask
{
	my ($name, $sql) = @_;
	my $place = $place{$name};
	my @answer = eval {
		$place->{session} //= Session->new($place->{cluster}->connstr('postgres') . ' connect_timeout=10');
		$place->{session}->send($sql);
		$place->{session}->answer;
	};

	drop_session($name) unless @answer;
	return @answer;
}

# Where it has to be there, and to do it: tried again while the server starts, or quarrels.
sub must
{
	my ($name, $sql) = @_;
	my @answer;

	for (1 .. 300)
	{
		@answer = ask($name, $sql);
		if (@answer && $answer[1] eq '')
		{
			chomp $answer[0];
			return $answer[0];
		}
		last if @answer && $answer[0] !~ /deadlock|lock timeout|statement timeout|could not serialize|starting up|shutting down|recovery|could not connect|is being exchanged|connection|in use|busy/;
		sleep 0.1;
	}
	die "$name: " . ($answer[0] // 'the server is gone') . " in: $sql\n";
}

# A server that was killed leaves its processes to find that out.
sub start_again
{
	my ($cluster) = @_;

	for (1 .. 100)
	{
		return if system_quietly('pg_ctl', '-w', '-D', $cluster->data_dir, '-l', $cluster->logfile, '-o', '--cluster-name=' . $cluster->name, 'start') == 0;
		sleep 0.1;
	}
	die $cluster->name . " does not start\n";
}

sub system_quietly
{
	my (@command) = @_;
	my ($out, $err);
	my $ok = IPC::Run::run(\@command, '>', \$out, '2>', \$err);
	return $ok ? 0 : 1;
}

sub kill_server
{
	my ($name) = @_;

	$place{$name}{cluster}->kill9;
	drop_session($name);
}

sub revive_server
{
	my ($name) = @_;
	my $cluster = $place{$name}{cluster};

	start_again($cluster);
	$cluster->_update_pid(1);
}

# ---------- what is synchronized ----------

my $tables = 'CREATE TABLE item (id text PRIMARY KEY, a text, b text); CREATE TABLE remark (id text PRIMARY KEY, a text, b text);';

sub setup_hub
{
	$place{hub} = { cluster => new_cluster(), columns => 0 };
	must('hub', "CREATE EXTENSION syncext; CREATE ROLE link LOGIN; $tables
		SELECT sync_add_source('Desk', 2), sync_add_source('A', 1, 'link'), sync_add_source('B', 3, 'link'), sync_add_source('C', 4, 'link');
		SELECT sync_add_entity('item'), sync_add_entity('remark', '{latest,keep}');
		SELECT sync_attach('item', 'Desk', 'item'), sync_attach('remark', 'Desk', 'remark')");
}

sub setup_spoke
{
	my ($name) = @_;
	my $source = $source{$name};

	$place{$name} = { cluster => new_cluster(), columns => 0 };
	must($name, "CREATE EXTENSION syncext; CREATE EXTENSION postgres_fdw; $tables
		SELECT sync_add_source('$source'), sync_add_entity('item'), sync_add_entity('remark');
		CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw OPTIONS (" . hub_options('') . ");
		CREATE USER MAPPING FOR CURRENT_USER SERVER hub OPTIONS (user 'link')");
	must($name, "SELECT sync_link('up', 'hub', '$source')");
	must($name, "SELECT sync_attach('item', '$source', 'item'), sync_attach('remark', '$source', 'remark')");
}

sub hub_options
{
	my ($set) = @_;
	my $hub = $place{hub}{cluster};
	return "${set}host '" . $hub->host . "', ${set}port '" . $hub->port . "'" . ($set ? '' : ", dbname 'postgres'");
}

# Where it is not known who is who, a link stops until an administrator decides.  Here all are
# who they say, so what the hint offers for that case is done.
sub decide_links
{
	for my $name (@spokes)
	{
		next if $place{$name}{resting} || !(my ($refused) = ask($name, 'SELECT refused FROM syncext.peer WHERE refused IS NOT NULL'));
		next if $refused !~ /\S/;
		my ($out) = ask($name, "CALL sync_exchange('up')");

		next unless defined $out && $out =~ /^HINT: .*?SELECT (syncext\.release_(hub|spoke)\('\w+'\))/m;
		note("$name: $out");
		must($2 eq 'hub' ? $name : 'hub', "SELECT $1");
		$done{decided}++;
	}
}

# A spoke that was restored may know an older hub, or have its link disabled.
sub point_to_hub
{
	my ($name) = @_;
	must($name, 'ALTER SERVER hub OPTIONS (' . hub_options('SET ') . ')');
	must($name, "UPDATE syncext.link SET enabled = true WHERE NOT enabled; SELECT syncext.start_workers()");
}

sub add_columns
{
	my ($name, $n) = @_;

	for (my $place = $place{$name}; $place->{columns} < $n; )
	{
		my $column = 'x' . ($place->{columns} + 1);
		must($name, "ALTER TABLE item ADD $column text" . ($place->{columns} % 2 ? '' : " DEFAULT 'new'"));
		$place->{columns}++;
	}
}

# ---------- edits ----------

sub fresh { my ($name) = @_; return sprintf('%s%d', $name, scalar(keys %edit_of_value) + 1) }

sub note_edit
{
	my ($name, $key, $kind, %set) = @_;
	my $edit = { n => scalar @edits, time => time, at => $name, key => $key, kind => $kind, set => \%set };

	push @edits, $edit;
	$edit_of_value{$_} = $edit for values %set;
	return $edit;
}

# One that may or may not have been made, as its server went away: it isn't judged, but may
# have written over others.
sub note_unsure
{
	my ($name, $key, $kind, %set) = @_;
	note_edit($name, $key, $kind, %set)->{unsure} = 1;
	$edit_of_value{$_} = undef for values %set;
}

sub edit
{
	my ($name) = @_;
	my ($entity, $id, $dice) = (pick(@entities), 'k' . (1 + int rand $keys), rand);
	my @known = (@fields, $entity eq 'item' ? map { "x$_" } 1 .. $place{$name}{columns} : ());
	my (%set, $sql);

	return if $entity eq ($place{$name}{detached} // '');
	for my $field ($dice < 0.3 ? @fields : grep { chance(0.5) } @known)
	{
		$set{$field} = fresh($name);
		$edit_of_value{ $set{$field} } = undef;
	}
	if ($dice < 0.3) { $sql = "INSERT INTO $entity (id, a, b) VALUES ('$id', '$set{a}', '$set{b}') ON CONFLICT DO NOTHING" }
	elsif ($dice < 0.4) { $sql = "DELETE FROM $entity WHERE id = '$id'"; %set = () }
	elsif (!%set) { return }
	else { $sql = "UPDATE $entity SET " . join(', ', map { "$_ = '$set{$_}'" } sort keys %set) . " WHERE id = '$id'" }
	my ($out, $error) = ask($name, "SET lock_timeout = '2s'; $sql RETURNING 'done'");
	my @what = ($name, "$entity $id", $dice < 0.3 ? 'insert' : $dice < 0.4 ? 'delete' : 'update', %set);
	return note_unsure(@what) if !defined $out && %set;
	return if !defined $out || $error ne '' || $out !~ /done/;
	note_edit(@what);
}

sub work
{
	my ($n) = @_;

	for (1 .. $n)
	{
		my $name = pick(@places);
		edit($name) unless $place{$name}{resting};
	}
	ask('hub', "SET client_min_messages = error; SELECT sync_deliver('Desk')");
}

# ---------- what goes with what is thrown away ----------

# Everything that a hub's log says, which is about to go back in time: nobody talks to
# it any more.
sub harvest
{
	must('hub', "ALTER ROLE link NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'link'");
	must('hub', "SELECT 1 WHERE EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'link' AND pg_sleep(0.05) IS NOT NULL)") for 1 .. 3;
	push @lost_logs, read_log();
}

sub read_log
{
	my @log;

	for (split /\n/, must('hub', q(SELECT jsonb_build_array(entity || ' ' || external_id, source, resolution, fields, detail, extract(epoch FROM recorded_at)) FROM syncext.change_log ORDER BY seq)))
	{
		my ($key, $source, $resolution, $fields, $detail, $time) = @{ JSON::PP::decode_json($_) };
		my %lost = map { $_ => 1 } @{ $detail->{lost} // [] };
		my $aside = $lost{'*'} || $resolution =~ /^(?:MANUAL|KEEP|DISMISSED|SUPERSEDED)$/;

		push @log, { key => $key, source => $source, fields => $fields, deleted => $detail->{deleted}, lost => \%lost, aside => $aside, time => $time,
			recovered => exists $detail->{recovered} };
	}
	return \@log;
}

# A spoke goes back to what it was when so many edits had been made: what only it knew
# of them is gone.  What the hub knows has lost its author, and lives there alone; what
# this spoke has held for a hub that had gone back, it holds no more.
sub excuse_spoke
{
	my ($name, $since) = @_;
	my $known = known_to_hub();

	for my $edit (@edits)
	{
		my $own = $edit->{at} eq $name && $edit->{n} >= $since;

		for my $field (keys %{ $edit->{set} })
		{
			my $held = $edit->{held}{$field};

			if ($known->{ $edit->{set}{$field} }) { $edit->{orphan} = 1 if $own; next }
			$edit->{gone}{$field} = 1 if $own && !$held;
			delete $held->{$name} if $held;
			$edit->{gone}{$field} = 1 if $held && !%$held;
		}
		next if !$own || $edit->{kind} ne 'delete';
		if ($known->{"$edit->{key} $source{$name}"}) { $edit->{orphan} = 1 }
		else { $edit->{gone}{'*'} = 1 }
	}
}

# The hub goes back: of its own edits, and of those whose authors went back, what no
# spoke's table holds is gone; who holds it has to send it, or its user wrote over it.
sub excuse_hub
{
	my ($since) = @_;
	my $held = held_by_spokes();

	for my $edit (grep { $_->{at} eq 'hub' && $_->{n} >= $since || $_->{orphan} } @edits)
	{
		for my $field (keys %{ $edit->{set} })
		{
			my $holders = $held->{ $edit->{set}{$field} };

			$edit->{held}{$field} = { map { $_ => scalar @edits } @$holders } if $holders;
			$edit->{gone}{$field} = 1 unless $holders;
		}
		$edit->{gone}{'*'} = 1 if $edit->{kind} eq 'delete';
	}
}

# What the hub's log and conflicts say of values, and of deletes by whom.
sub known_to_hub
{
	my %known;

	for my $change (@{ read_log() })
	{
		$known{"$change->{key} $change->{source}"} = 1 if $change->{deleted};
		$known{$_} = 1 for grep { defined } values %{ $change->{fields} };
	}
	$known{$_} = 1 for split /\n/, must('hub', 'SELECT value FROM syncext.conflict_log, jsonb_each_text(incoming) WHERE value IS NOT NULL');
	return \%known;
}

# What the spokes' tables hold: by whom.
sub held_by_spokes
{
	my %held;

	for my $name (@spokes)
	{
		for my $entity (@entities)
		{
			push @{ $held{$_} }, $name for split /\n/, must($name, "SELECT value FROM $entity t, jsonb_each_text(to_jsonb(t)) WHERE key <> 'id' AND value IS NOT NULL");
		}
	}
	return \%held;
}

# ---------- what operators do ----------

sub step_kill
{
	my $name = pick(@places);

	kill_server($name);
	$place{$name}{resting} = 1;
	work(5);
	revive_server($name);
	$place{$name}{resting} = 0;
}

# A worker or a session alone
sub step_kill_backend
{
	my $name = pick(@places);
	my $what = pick('syncext%', 'client backend', 'checkpointer');
	my ($pid) = ask($name, "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE '$what' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1");

	return unless ($pid // '') =~ /^(\d+)/;
	kill 'KILL', $1;
}

sub step_cut
{
	my $name = pick(@spokes);

	must($name, "UPDATE syncext.link SET enabled = " . (chance(0.5) ? 'NOT enabled' : 'false'));
}

sub step_mend
{
	must($_, "UPDATE syncext.link SET enabled = true WHERE NOT enabled") for @spokes;
}

sub step_add_column
{
	my $name = pick(@places);

	add_columns($name, $place{$name}{columns} + 1) if $place{$name}{columns} < $columns_max;
}

# While it is detached nobody edits it: nothing would be captured.
sub step_detach
{
	my $name = pick(@spokes);
	my $entity = pick(@entities);

	must($name, "SELECT sync_detach('$entity')");
	$place{$name}{detached} = $entity;
	work(12);
	must($name, "SELECT sync_attach('$entity', '$source{$name}', '$entity')");
	delete $place{$name}{detached};
}

# A table's rows are brought together with the hub's once more.
sub step_load
{
	my $name = pick(@spokes);
	must($name, "CALL sync_load('" . pick(@entities) . "')");
}

# Nothing is left to send: what isn't sent stays where it is.
sub drain
{
	my ($name) = @_;

	step_mend();
	for (1 .. 100)
	{
		my ($out, $error) = ask($name, "CALL sync_exchange('up')");

		decide_links();
		return 1 if defined $out && $error eq '' && must($name, 'SELECT sum(unanswered) FROM syncext.link_status') == 0;
		sleep 0.1;
	}
	return 0;
}

sub step_relink
{
	my $name = pick(@spokes);

	return unless drain($name);
	must($name, "SELECT sync_unlink('up')");
	$place{$name}{resting} = 1;
	work(8);
	must($name, "SELECT sync_detach('$_')") for @entities;
	must($name, "SELECT sync_link('up', 'hub', '$source{$name}')");
	must($name, "SELECT sync_attach('$_', '$source{$name}', '$_')") for @entities;
	must($name, "CALL sync_load('$_', 'hub')") for @entities;
	$place{$name}{resting} = 0;
}

# Ended while there is something to send, and made again while the tables are edited.
sub step_unlink
{
	my $name = pick(@spokes);

	return unless drain($name);
	must($name, "UPDATE syncext.link SET enabled = false");
	work(12);
	must($name, "SELECT sync_unlink('up')");
	work(12);
	must($name, "SELECT sync_link('up', 'hub', '$source{$name}')");
}

sub step_backup
{
	my $name = chance(0.4) ? 'hub' : pick(@spokes);
	my $place = $place{$name};
	my $backup = 'backup' . ++$backups;

	rmtree($place->{backup}{path}) if $place->{backup};
	must($name, 'SELECT 1');
	$place->{cluster}->backup($backup);
	$place->{backup} = { path => $place->{cluster}->backup_dir . "/$backup", edits => scalar @edits, columns => $place->{columns}, at => time };
}

# One that isn't older than what a minute of a year is here.
sub has_backup
{
	my ($name) = @_;
	return $place{$name}{backup} && time - $place{$name}{backup}{at} < 15;
}

# Its files go, and come again from the backup; with a recovery to a point in time, or
# simply started.
sub restore
{
	my ($name) = @_;
	my $place = $place{$name};
	my $dir = $place->{cluster}->data_dir;

	for (1 .. 100)
	{
		# its processes find out that they are alone
		last if system_quietly('pg_ctl', '-D', $dir, 'status') != 0;
		sleep 0.05;
	}
	rmtree($dir);
	PostgreSQL::Test::RecursiveCopy::copypath($place->{backup}{path}, $dir);
	chmod 0700, $dir;
	if (chance(0.5))
	{
		open my $signal, '>', "$dir/recovery.signal" or die;
		close $signal;
		open my $conf, '>>', "$dir/postgresql.conf" or die;
		print $conf "restore_command = 'false'\nrecovery_target_action = 'promote'\n";
		close $conf;
	}
	revive_server($name);
	$place->{columns} = $place->{backup}{columns};
	for (1 .. 100)
	{
		last if must($name, 'SELECT pg_is_in_recovery()') eq 'f';
		sleep 0.1;
	}
	# not for a standby that is made of it
	$place->{cluster}->adjust_conf('postgresql.conf', $_, undef) for qw(restore_command recovery_target_action);
}

sub step_restore_spoke
{
	my $name = pick(grep { has_backup($_) } @spokes) // return;

	kill_server($name);
	# what it was sending has come, or not
	sleep 0.3;
	excuse_spoke($name, $place{$name}{backup}{edits});
	restore($name);
	point_to_hub($name);
}

sub step_restore_hub
{
	return unless has_backup('hub');
	harvest();
	kill_server('hub');
	excuse_hub($place{hub}{backup}{edits});
	drop_standby();
	restore('hub');
}

sub drop_standby
{
	$standby->{cluster}->stop('immediate') if $standby;
	undef $standby;
}

sub step_standby
{
	my $hub = $place{hub}{cluster};
	my $backup = 'backup' . ++$backups;

	return if $standby;
	must('hub', 'SELECT 1');
	$hub->backup($backup);
	$standby = { cluster => PostgreSQL::Test::Cluster->new('op' . ++$clusters) };
	$standby->{cluster}->init_from_backup($hub, $backup, has_streaming => 1);
	rmtree($hub->backup_dir . "/$backup");
	$standby->{cluster}->start;
}

# From now on it lags behind.
sub step_lag
{
	return if !$standby || defined $standby->{lag};
	$standby->{cluster}->safe_psql('postgres', "ALTER SYSTEM SET primary_conninfo = ''");
	$standby->{cluster}->safe_psql('postgres', 'SELECT pg_reload_conf()');
	$standby->{lag} = @edits;
	$standby->{since} = time;
	$standby->{columns} = $place{hub}{columns};
}

sub promote
{
	my ($caught_up) = @_;
	my $old = $place{hub}{cluster};

	harvest();
	$old->wait_for_catchup($standby->{cluster}->name, 'replay', $old->lsn('insert')) if $caught_up;
	$old->stop('immediate');
	drop_session('hub');
	excuse_hub($standby->{lag}) unless $caught_up;
	$old_primary = $old;
	$place{hub} = { cluster => $standby->{cluster}, columns => $caught_up ? $place{hub}{columns} : $standby->{columns} };
	$place{hub}{cluster}->promote;
	undef $standby;
	must('hub', 'ALTER ROLE link LOGIN');
	must('hub', 'ALTER SYSTEM RESET primary_conninfo');
	must($_, 'ALTER SERVER hub OPTIONS (' . hub_options('SET ') . ')') for @spokes;
}

# The old primary comes back, and a spoke is led to it.
sub step_old_primary
{
	my $name = pick(@spokes);
	my $old = $old_primary or return;

	return if $standby;
	start_again($old);
	$old->_update_pid(1);
	$old->safe_psql('postgres', 'ALTER ROLE link LOGIN');
	my $log = $old->safe_psql('postgres', 'SELECT count(*) FROM syncext.change_log');
	my $met = $old->safe_psql('postgres', 'SELECT syncext.this_timeline()') < (must($name, "SELECT identity->>'timeline' FROM syncext.peer") || 0);
	must($name, "UPDATE syncext.link SET enabled = true WHERE NOT enabled; ALTER SERVER hub OPTIONS (SET host '" . $old->host . "', SET port '" . $old->port . "')");
	work(8);
	# one that hasn't met the new one takes it for its hub still, and finds out later
	if ($met)
	{
		refuses($place{$name}{cluster}, 'an old primary');
		is($old->safe_psql('postgres', 'SELECT count(*) FROM syncext.change_log'), $log, 'and gets nothing');
	}
	$old->stop('immediate');
	undef $old_primary;
	point_to_hub($name);
}

# Does a database's link stop, and say why?
sub refuses
{
	my ($cluster, $what, $database) = @_;
	ok($cluster->poll_query_until($database // 'postgres', 'SELECT count(*) > 0 FROM syncext.peer WHERE refused IS NOT NULL'), "$what is refused");
	ok($cluster->safe_psql($database // 'postgres', "SELECT count(*) FROM sync_check() WHERE severity = 'error' AND object = 'link up'"), 'and sync_check tells');
}

# What is done in a copy must not come to the hub: judged in the end.
sub edit_copy
{
	my ($cluster, $database) = @_;
	$cluster->safe_psql($database, join(';', map { my $n = ++$copied; ("INSERT INTO item (id, a) VALUES ('copy$n', 'copy$n')", "UPDATE remark SET a = 'copy$n' WHERE id = 'k$n'", "DELETE FROM item WHERE id = 'k$n'") } 1 .. 5));
}

# A copy of a spoke's files is started elsewhere, beside it or while it is away.
sub step_clone
{
	my $name = pick(@spokes);
	my $backup = 'backup' . ++$backups;
	my $cluster = $place{$name}{cluster};
	my $clone = PostgreSQL::Test::Cluster->new('op' . ++$clusters);

	must($name, "UPDATE syncext.link SET enabled = true WHERE NOT enabled");
	$cluster->backup($backup);
	kill_server($name) if my $away = chance(0.5);
	$place{$name}{resting} = $away;
	$clone->init_from_backup($cluster, $backup);
	rmtree($cluster->backup_dir . "/$backup");
	$clone->start;
	edit_copy($clone, 'postgres');
	work(8);
	refuses($clone, 'a clone');
	$clone->stop('immediate');
	rmtree($clone->data_dir);
	revive_server($name) if $away;
	$place{$name}{resting} = 0;
}

sub step_template
{
	my $name = pick(@spokes);
	my $cluster = $place{$name}{cluster};

	must($name, "UPDATE syncext.link SET enabled = true WHERE NOT enabled");
	drop_session($name);
	for (1 .. 20)
	{
		last if ($cluster->psql('template1', 'CREATE DATABASE staging TEMPLATE postgres'))[0] == 0;
	}
	$cluster->safe_psql('staging', 'SELECT syncext.start_workers()');
	edit_copy($cluster, 'staging');
	work(8);
	refuses($cluster, 'a copy of the database', 'staging');
	$cluster->safe_psql('template1', 'DROP DATABASE staging WITH (FORCE)');
}

# A spoke is gone for good, and another database takes its place.
sub step_replace
{
	my $name = pick(@spokes);
	my $old = $place{$name}{cluster};

	kill_server($name);
	sleep 0.3;
	excuse_spoke($name, 0);
	# it may have been let go a moment ago
	must('hub', "SELECT syncext.release_spoke(source) FROM syncext.spoke WHERE source = '$source{$name}' AND mark IS NOT NULL");
	rmtree($old->data_dir);
	setup_spoke($name);
}

# Another server has the same databases, under another identifier.
sub step_upgrade
{
	my $name = pick(@places);
	my $old = $place{$name}{cluster};
	my $new = PostgreSQL::Test::Cluster->new('op' . ++$clusters);
	my $bin = $old->config_data('--bindir');
	my $socket = PostgreSQL::Test::Utils::tempdir_short();

	return if $done{upgrade};
	drop_standby() if $name eq 'hub';
	must($name, 'SELECT 1');
	drop_session($name);
	$old->stop('fast');
	$new->init(allows_streaming => 1, extra => [ '--wal-segsize=1' ]);
	$new->append_conf('postgresql.conf', $conf);
	my ($from, $to) = map { Cwd::abs_path($_->data_dir) } $old, $new;
	chdir $socket or die;
	my ($out, $err) = run_command([ 'pg_upgrade', '--no-sync', '--link', '-d', $from, '-D', $to, '-b', $bin, '-B', $bin, '-s', $socket, '-p', $old->port, '-P', $new->port ]);
	chdir $here or die;
	like($out, qr/Upgrade Complete/, 'pg_upgrade goes well') or diag("$out\n$err");
	$new->start;
	$place{$name} = { cluster => $new, columns => $place{$name}{columns} };
	rmtree($old->data_dir);
	return if $name ne 'hub';
	must($_, 'ALTER SERVER hub OPTIONS (' . hub_options('SET ') . ')') for @spokes;
}

sub step_promote { promote(1) if $standby && !defined $standby->{lag} }
# One that lags for longer than the backups are old is given up.
sub step_promote_lagging
{
	return if !$standby || !defined $standby->{lag};
	return drop_standby() if time - $standby->{since} > 15;
	promote(0);
}

# ---------- the run ----------

my %step = (
	kill => [ 3, \&step_kill ], kill_backend => [ 3, \&step_kill_backend ], cut => [ 4, \&step_cut ], mend => [ 3, \&step_mend ],
	add_column => [ 2, \&step_add_column ], detach => [ 2, \&step_detach ], load => [ 1, \&step_load ], relink => [ 1, \&step_relink ],
	unlink => [ 2, \&step_unlink ],
	backup => [ 4, \&step_backup ], restore_spoke => [ 2, \&step_restore_spoke ], restore_hub => [ 2, \&step_restore_hub ],
	standby => [ 2, \&step_standby ], lag => [ 1, \&step_lag ], promote => [ 1, \&step_promote ], promote_lagging => [ 2, \&step_promote_lagging ],
	old_primary => [ 1, \&step_old_primary ], clone => [ 1, \&step_clone ], template => [ 1, \&step_template ], replace => [ 1, \&step_replace ],
	upgrade => [ 1, \&step_upgrade ]);
my @steps = split ' ', $ENV{OPERATIONS_STEPS} || join ' ', sort keys %step;
my @urn = map { ($_) x $step{$_}[0] } @steps;

setup_hub();
setup_spoke($_) for @spokes;
# on a machine that has much else to do, for longer
for (my $end = time + $seconds; time < $end || @edits <= 100; )
{
	work(10 + int rand 40);
	decide_links();
	my $step = pick(@urn);
	note("edit " . @edits . ": $step");
	push @steps_done, [ scalar @edits, time, $step ];
	$step{$step}[1]->();
	$done{$step}++;
}

# ---------- the end ----------

drop_standby();
point_to_hub($_) for @spokes;
for my $name (@places)
{
	add_columns($name, $columns_max);
	must($name, "CALL sync_load('item')");
}
for my $name (@spokes)
{
	ok(drain($name), "$name has nothing left to send");
}
must($_, 'UPDATE syncext.link SET enabled = false') for @spokes;
my $tree = bless { entities => \@entities, order => \@places, root => 'hub',
	seen => { map { $_ => 0 } qw(exchanges pushed pulled conflicts failed) },
	node => { map { my $connstr = $place{$_}{cluster}->connstr('postgres'); $_ => { $_ eq 'hub' ? (own => 'Desk') : (up => 'hub', source => $source{$_}),
		editor => Session->new($connstr), carrier => Session->new($connstr) } } @places } }, 'Convergence';
ok(defined $tree->settle, 'it comes to rest');
for (1 .. 10)
{
	last unless $tree->decide('hub', 1000);
	ok(defined $tree->settle, 'and so it does when conflicts are decided');
}
my @differing = $tree->untold_differences;

# ---------- what was lost ----------

my $records = $tree->records('hub');
$_ = JSON::PP->new->canonical->encode(JSON::PP::decode_json($_)) for values %$records;
my $account = $tree->accounted('hub');
my @unaccounted = map { "$_ is " . ($records->{$_} // 'none') . ', but its log says ' . ($account->{$_} // 'none') } Convergence::differing($records, $account);

my %standing = map { $_ => 1 } map { values %{ JSON::PP::decode_json($_) } } values %$records;
my $logged = known_to_hub();
my $final_log = read_log();
my %told_at = map { $_ => $tree->told_of($_) } @places;
# an unsure edit was made if anybody has heard of it
my %heard = (%standing, %$logged, map { $_ => 1 } grep { defined } map { values %{ $_->{fields} } } map { @$_ } @lost_logs);
for my $edit (grep { $_->{unsure} && !grep { $heard{$_} } values %{ $_->{set} } } @edits)
{
	$edit->{key} = '';
}

# A column's default that came with an insertion stands for a value that was inserted.
sub written_with
{
	my ($change, $value) = @_;
	my ($inserted) = grep { my $by = $edit_of_value{ $_ // '' }; $by && $by->{kind} eq 'insert' } values %{ $change->{fields} };
	return !$edit_of_value{$value} && defined $inserted ? $inserted : $value;
}

# What became of a value in logs that are no more: undef, nothing; '' it was lost there;
# else what wrote over it (a value, or the key of a record that was deleted), or the
# value itself, which stood.
sub in_lost_logs
{
	my ($key, $field, $value) = @_;
	my $fate;

	for my $log (@lost_logs)
	{
		for my $change (grep { $_->{key} eq $key } @$log)
		{
			my $says = $change->{fields}{$field};

			# an older state that was sent again, of what had been written over or deleted
			next if $change->{recovered} && defined $fate && $fate ne $value;
			if (defined $says && $says eq $value) { $fate = $change->{aside} || $change->{lost}{$field} ? '' : $value }
			elsif (defined $fate && $fate eq $value && !$change->{aside})
			{
				$fate = $change->{deleted} ? $key : defined $says && !$change->{lost}{$field} ? written_with($change, $says) : $fate;
			}
		}
	}
	return $fate;
}

# The next thing that was done to a field at a node.
sub next_at_node
{
	my ($name, $from, $key, $field) = @_;

	for (@edits[ $from .. $#edits ])
	{
		next if $_->{at} ne $name || $_->{key} ne $key;
		return $_ if $_->{kind} eq 'delete' && !$_->{gone}{'*'} || exists $_->{set}{$field} && !$_->{gone}{$field};
	}
	return undef;
}

# Did all who held it for a hub that had gone back write over it?
sub written_over_where_held
{
	my ($edit, $field, $seen) = @_;
	my $held = $edit->{held}{$field} or return 0;

	for (keys %$held)
	{
		my $next = next_at_node($_, $held->{$_}, $edit->{key}, $field);
		return 0 unless $next && fine($next, $field, $seen);
	}
	return 1;
}

# Why an edit of a field is all right; '' if it isn't.  In $seen are those that ask.
sub fine
{
	my ($edit, $field, $seen) = @_;
	my $what = $edit->{kind} eq 'delete' ? $edit->{n} : $edit->{set}{$field};

	return '' if $seen->{$what};
	$seen = { %$seen, $what => 1 };
	return $edit->{kind} eq 'delete' ? fine_delete($edit, $seen) || ($edit->{gone}{'*'} ? 'thrown away' : '') :
		fine_value($edit, $field, $seen) || ($edit->{gone}{$field} ? 'thrown away' : '');
}

# Was the record deleted at the hub that is left, after the edit was made?
sub deleted_after
{
	my ($edit) = @_;
	return scalar grep { $_->{key} eq $edit->{key} && $_->{deleted} && !$_->{aside} && $_->{time} > $edit->{time} } @$final_log;
}

sub fine_value
{
	my ($edit, $field, $seen) = @_;
	my $value = $edit->{set}{$field};

	return 'stands' if $standing{$value};
	return 'in the log' if $logged->{$value};
	return 'told' if $told_at{ $edit->{at} }{ $edit->{key} };
	my $next = next_at_node($edit->{at}, $edit->{n} + 1, $edit->{key}, $field);
	return 'written over' if $next && fine($next, $field, $seen) || written_over_where_held($edit, $field, $seen);
	my $fate = in_lost_logs($edit->{key}, $field, $value);
	return 'deleted since' if defined $fate && $fate eq $value && deleted_after($edit);
	return '' if !defined $fate || $fate eq $value;
	return 'told of in a log that is no more' if $fate eq '' || $fate eq $edit->{key};
	my $by = $edit_of_value{$fate} or return '';
	return fine($by, exists $by->{set}{$field} ? $field : (sort keys %{ $by->{set} })[0], $seen) ? 'written over there' : '';
}

# Was there no record, as others had deleted it or the hub never had it, until it was made
# anew, by a later edit or by an earlier one that came to the hub after this delete was made?
sub deleted_by_others
{
	my ($edit) = @_;
	my $deleted = 1;

	for my $change (grep { $_->{key} eq $edit->{key} && !$_->{aside} } @$final_log)
	{
		my @written = map { $change->{fields}{$_} // () } grep { !$change->{lost}{$_} } keys %{ $change->{fields} };

		return 1 if $deleted && grep { $edit_of_value{$_} && ($edit_of_value{$_}{n} > $edit->{n} || $change->{time} > $edit->{time}) } @written;
		$deleted = $change->{deleted} if $change->{deleted} || @written;
	}
	return 0;
}

# Did a hub that is no more take the delete, or have another one already, and another edit
# make the record anew there?
sub made_anew_there
{
	my ($edit, $seen) = @_;

	for my $log (@lost_logs)
	{
		my $deleted = 0;

		for my $change (grep { $_->{key} eq $edit->{key} && !$_->{aside} } @$log)
		{
			$deleted = 1 if $change->{deleted};
			next if !$deleted || $change->{deleted} || $change->{time} < $edit->{time};
			return 1 if grep { my $by = $edit_of_value{ $change->{fields}{$_} // '' }; !$change->{lost}{$_} && $by && fine($by, $_, $seen) } keys %{ $change->{fields} };
		}
	}
	return 0;
}

sub fine_delete
{
	my ($edit, $seen) = @_;
	my $by = "$edit->{key} $source{ $edit->{at} }";

	return 'stands' unless exists $records->{ $edit->{key} };
	return 'in the log' if $logged->{$by};
	return 'told' if $told_at{ $edit->{at} }{ $edit->{key} };
	# a row that never came further is its user's own
	my ($last) = reverse grep { $_->{at} eq $edit->{at} && $_->{key} eq $edit->{key} } @edits[ 0 .. $edit->{n} - 1 ];
	return 'never sent' if $last && $last->{kind} ne 'delete' && !grep { $logged->{$_} || defined in_lost_logs($edit->{key}, 'a', $_) } values %{ $last->{set} };
	my ($next) = grep { $_->{at} eq $edit->{at} && $_->{key} eq $edit->{key} } @edits[ $edit->{n} + 1 .. $#edits ];
	return 'written over' if $next && !grep { !fine($next, $_, $seen) } $next->{kind} eq 'delete' ? '*' : keys %{ $next->{set} };
	return 'deleted by others' if deleted_by_others($edit);
	return 'written over there' if made_anew_there($edit, $seen);
	return 'told of in a log that is no more' if grep { grep { $_->{key} eq $edit->{key} && $_->{source} eq $source{ $edit->{at} } && $_->{deleted} && $_->{aside} } @$_ } @lost_logs;
	return '';
}

my (@lost, @untold, %why);
for my $edit (grep { !$_->{unsure} } @edits)
{
	for my $field ($edit->{kind} eq 'delete' ? '*' : sort keys %{ $edit->{set} })
	{
		my $why = fine($edit, $field, {});
		my $value = $field eq '*' ? 'deleted' : $edit->{set}{$field};

		$why{$why}++;
		next if $why;
		push @{ defined in_lost_logs($edit->{key}, $field, $value) ? \@untold : \@lost }, "$edit->{at}: $edit->{key} $field $value (edit $edit->{n})";
	}
}
push @untold, @unaccounted;

# What is known of a record, for whoever looks for what went wrong.
sub tell_record
{
	my ($key) = @_;
	my $json = JSON::PP->new->canonical;
	my $change = sub { my ($c) = @_; sprintf('%.3f %s %s', $c->{time}, $c->{source}, $json->encode({ map { $_ => $c->{$_} } qw(fields deleted lost aside recovered) })) };
	my $at = 0;
	my @says;

	for (@steps_done)
	{
		my ($n, $time, $step) = @$_;

		push @says, sprintf('%.3f edit %d: %s', $time, $n, $step);
	}
	push @says, map { my $edit = $_; sprintf('%.3f edit %d at %s: %s %s', $edit->{time}, $edit->{n}, $edit->{at}, $edit->{kind}, $json->encode({ map { $_ => $edit->{$_} } grep { defined $edit->{$_} } qw(set gone held orphan) })) } grep { $_->{key} eq $key } @edits;
	@says = sort { ($a =~ /^(\S+)/)[0] <=> ($b =~ /^(\S+)/)[0] } @says;
	for my $log (@lost_logs, $final_log)
	{
		push @says, 'log ' . ++$at . ($log == $final_log ? ', the last' : '') . ':', map { '    ' . $change->($_) } grep { $_->{key} eq $key } @$log;
	}
	return join("\n", "$key is " . ($records->{$key} // 'none'), @says);
}

diag(tell_record($_)) for sort keys %{ { map { /^\w+: (\w+ \w+) / ? ($1 => 1) : () } @lost, @untold } };
is(join("\n", @lost), '', 'no edit is lost');
is(join("\n", @untold), '', 'what stands nowhere is told');
is(join("\n", @differing), '', 'where a node differs, it is told');
note('in all: ' . join(', ', map { "$_ $done{$_}" } sort keys %done));
note(sprintf('in all: %d edits of %d fields: %s', scalar @edits, eval { my $n = 0; $n += $_ for values %why; $n }, join(', ', map { ($_ || 'not fine') . " $why{$_}" } sort keys %why)));
note(sprintf('in all: lost %d, untold %d, differing %d', scalar @lost, scalar @untold, scalar @differing));
is(join(' ', grep { /^copy/ } sort keys %$logged), '', 'nothing came from a copy');
cmp_ok(scalar @edits, '>', 100, 'there were edits');
cmp_ok(scalar keys %$records, '>', 5, 'and there are records');

drop_session($_) for @places;
$tree->quit;
$place{$_}{cluster}->stop('immediate') for @places;
done_testing();
