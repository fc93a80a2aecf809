# 070_ddl_fuzz.pl
#	  Attached tables that are altered, detached, dropped and made anew at random,
#	  while other sessions edit them, deliver to them, poll, load and exchange them
#	  over a link: nothing crashes, nothing is taken for what it isn't, no lock or
#	  memory is left behind, and in the end the tables hold what the hub's records
#	  say, or it is told what doesn't.
#
#	hub		item (a table), part (partitioned), seen (a view that is polled), all of
#			source A; entity far comes from the spoke
#	spoke	far, of a source that is linked to the hub
#
# DDL_FUZZ_SEED repeats a dice (but not who was faster); DDL_FUZZ_SECONDS is how
# long it is thrown.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Open3;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{DDL_FUZZ_SEED} // 20260101;
my $seconds = $ENV{DDL_FUZZ_SECONDS} || 12;
srand($seed);
diag("DDL_FUZZ_SEED=$seed DDL_FUZZ_SECONDS=$seconds");

my %node;
for my $name (qw(hub spoke))
{
	$node{$name} = PostgreSQL::Test::Cluster->new($name);
	$node{$name}->init;
	$node{$name}->append_conf('postgresql.conf', <<'END');
fsync = off
restart_after_crash = off
deadlock_timeout = 50ms
max_connections = 30
syncext.retry_base = 100
syncext.retry_max = 500ms
syncext.poll_batch = 20
syncext.lock_timeout = 200
END
	$node{$name}->start;
}

sub chance { return rand() < $_[0] }
sub pick { return $_[ rand @_ ] }

# ---------- a session ----------

# psql at the other end of two pipes.
package FuzzSession
{
	sub new
	{
		my ($class, $node, $name) = @_;
		my $self = bless { name => $name, calls => 0, rest => '', busy => 0, last => '' }, $class;

		$self->{pid} = IPC::Open3::open3($self->{in}, $self->{out}, undef, 'psql', '-XAtq', '-d', $node->connstr('postgres'));
		$self->{in}->autoflush(1);
		$self->{out}->blocking(0);
		$self->wait("SET client_min_messages = error");
		return $self;
	}

	sub send
	{
		my ($self, $sql) = @_;
		my $mark = ++$self->{calls};

		$self->{busy} = 1;
		$self->{last} = $sql;
		print { $self->{in} } "\\set LAST_ERROR_SQLSTATE\n\\set LAST_ERROR_MESSAGE\n$sql;\n\\echo ==$mark== :LAST_ERROR_SQLSTATE :LAST_ERROR_MESSAGE\n";
	}

	# Whether it has answered; what came and what went wrong is in out, state and error.
	sub answered
	{
		my ($self, $timeout) = @_;
		my $mark = "==$self->{calls}==";
		my $end = Time::HiRes::time() + $timeout;

		for (;;)
		{
			if ($self->{rest} =~ s/\A(.*?)^\Q$mark\E ?(\w*) ?([^\n]*)\n//ms)
			{
				@$self{qw(out_text state error busy)} = ($1, $2, $3, 0);
				return 1;
			}
			return 0 unless Session::readable($end - Time::HiRes::time(), $self->{out});
			sysread($self->{out}, $self->{rest}, 65536, length $self->{rest}) or die "session $self->{name} is gone after: $self->{last}\n$self->{rest}\n";
		}
	}

	sub wait
	{
		my ($self, $sql) = @_;

		$self->send($sql);
		$self->answered($PostgreSQL::Test::Utils::timeout_default) or die "no answer to $sql\n";
		my $out = $self->{out_text};
		chomp $out;
		return $out;
	}
}


# ---------- the nodes ----------

my @columns = qw(v n d x1 x2);
my %made = (
	item => 'CREATE TABLE item (id int PRIMARY KEY, v text, n bigint, d numeric, at address)',
	part => 'CREATE TABLE part (id int PRIMARY KEY, v text, n bigint, d numeric) PARTITION BY RANGE (id);'
		. join(';', map { "CREATE TABLE part_$_ PARTITION OF part FOR VALUES FROM (" . $_ * 10 . ') TO (' . ($_ + 1) * 10 . ')' } 0 .. 2),
	far => 'CREATE TABLE far (id int PRIMARY KEY, v text, n bigint, d numeric, at address)');
my %attach = (
	item => "sync_attach('item', 'A', 'item')",
	part => "sync_attach('part', 'A', 'part')",
	seen => "sync_attach('seen', 'A', 'seen', '{id}', capture => 'poll')",
	far => "sync_attach('far', 'L', 'far')");
my $ladder = '{version,merge,priority,keep}';

my $hub = FuzzSession->new($node{hub}, 'hub ddl');
my $spoke = FuzzSession->new($node{spoke}, 'spoke ddl');

sub must
{
	my ($session, $sql) = @_;
	my $out = $session->wait($sql);
	die "$session->{state} $session->{error} in: $sql\n" if $session->{error} ne '';
	return $out;
}

must($hub, $_) for split /\n/, <<END;
CREATE EXTENSION syncext
CREATE TYPE address AS (street text, zip text)
SELECT sync_add_source('CRM', 1), sync_add_source('A', 2), sync_add_source('L', 3)
SELECT count(sync_add_entity(e, '$ladder')) FROM unnest('{item,part,seen,far}'::text[]) e
$made{item}
$made{part}
CREATE TABLE seen_rows (id int PRIMARY KEY, v text, n bigint, d numeric)
CREATE VIEW seen AS SELECT id, v, n, d FROM seen_rows
SELECT $attach{item}, $attach{part}, $attach{seen}
END
must($spoke, $_) for split /\n/, <<END;
CREATE EXTENSION syncext
CREATE EXTENSION postgres_fdw
CREATE TYPE address AS (street text, zip text)
SELECT sync_add_source('L'), sync_add_entity('far', '$ladder')
@{[ sprintf q(CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname 'postgres')), $node{hub}->host, $node{hub}->port ]}
CREATE USER MAPPING FOR CURRENT_USER SERVER hub
$made{far}
SELECT $attach{far}
SELECT sync_link('up', 'hub', 'L')
END

# ---------- what is done ----------

my $serial = 0;
sub value { return ++$serial }
sub row { return int(rand 30) }

sub edit
{
	my ($table) = @_;
	my $column = pick(@columns);
	my $id = row();

	return pick(
		"INSERT INTO $table (id, v, n) VALUES ($id, '" . value() . "', " . value() . ')',
		"INSERT INTO $table SELECT g, '" . value() . "' FROM generate_series($id, $id + 3) g ON CONFLICT DO NOTHING",
		"UPDATE $table SET $column = '" . value() . "' WHERE id = $id",
		"UPDATE $table SET $column = '" . value() . "' WHERE id BETWEEN $id AND $id + 5",
		"UPDATE $table SET id = id + 1 WHERE id = $id",
		"DELETE FROM $table WHERE id = $id");
}

sub change
{
	my ($entity) = @_;
	my %fields = map { ($_ => value()) } grep { chance(0.5) } @columns;
	my $fields = join(', ', map { "\"$_\": \"$fields{$_}\"" } sort keys %fields);

	$fields .= ($fields eq '' ? '' : ', ') . '"at": {"street": "' . value() . '", "zip": "1"}' if chance(0.2) && $entity =~ /item|far/;
	return sprintf(q(SELECT sync_apply('{"entity": "%s", "externalId": "%d", "source": "CRM", "version": %d, %s}')), $entity, row(), value(),
		chance(0.1) ? '"deleted": true' : "\"fields\": {$fields}");
}

# One statement that changes what a table is, in a transaction of its own.
sub alter
{
	my ($table) = @_;
	my $x = pick(qw(x1 x2));
	my $text_n = "CASE WHEN n::text ~ '^[0-9]{1,15}\$' THEN n::text::bigint END";

	return pick(
		"ALTER TABLE $table ADD COLUMN $x " . pick('int', 'text', 'bigint DEFAULT 7', 'numeric', "text NOT NULL DEFAULT 'x'"),
		"ALTER TABLE $table ADD COLUMN x1 text, ADD COLUMN x2 bigint",
		"ALTER TABLE $table DROP COLUMN $x",
		"ALTER TABLE $table DROP COLUMN d, ADD COLUMN d text",
		"ALTER TABLE $table RENAME COLUMN v TO w",
		"ALTER TABLE $table RENAME COLUMN w TO v",
		"ALTER TABLE $table ALTER n TYPE text USING n::text",
		"ALTER TABLE $table ALTER n TYPE bigint USING $text_n",
		"ALTER TABLE $table ALTER v TYPE " . pick('text', 'varchar(30)', "text COLLATE \"C\""),
		"ALTER TABLE $table ALTER id TYPE " . pick('bigint', 'int'),
		"ALTER TABLE $table RENAME TO ${table}_away",
		"ALTER TABLE ${table}_away RENAME TO $table",
		"CREATE INDEX ON $table (v)",
		"ANALYZE $table");
}

# Bring it back as it was made, more or less, and attach it.
sub mend
{
	my ($table) = @_;
	my $entity = $table;
	my $made = $table eq 'seen' ? 'CREATE OR REPLACE VIEW seen AS SELECT id, v, n, d FROM seen_rows' : $made{$table};

	return "ALTER TABLE IF EXISTS ${table}_away RENAME TO $table; $made; ALTER TABLE $table RENAME COLUMN w TO v; BEGIN; " .
		"SELECT sync_detach(b.relation) FROM syncext.binding b WHERE b.entity = '$entity'; SELECT " .
		(chance(0.3) && $table ne 'seen' ? $attach{$table} =~ s/\)$/, columns => '{"v": "v", "n": "n"}')/r : $attach{$table}) . '; COMMIT';
}

# A source that is linked, and has no table, would be a hub of its own.
sub attaching
{
	my ($table) = @_;

	return $table eq 'far' ? mend($table) : pick("SELECT sync_detach('$table')", map { mend($table) } 1 .. 3);
}

sub remake
{
	my ($table) = @_;

	return pick("DROP TABLE $table", "DROP TABLE $table; " . mend($table), mend($table), mend($table), mend($table));
}

sub partitions
{
	my $k = int(rand 3);
	my $bounds = 'FOR VALUES FROM (' . $k * 10 . ') TO (' . ($k + 1) * 10 . ')';

	return pick(
		"ALTER TABLE part DETACH PARTITION part_$k", "ALTER TABLE part ATTACH PARTITION part_$k $bounds", "DROP TABLE part_$k",
		("CREATE TABLE part_$k PARTITION OF part $bounds") x 4, "ALTER TABLE part DETACH PARTITION part_$k CONCURRENTLY");
}

sub typing { return 'ALTER TYPE address ' . pick('ADD ATTRIBUTE no int', 'DROP ATTRIBUTE no', 'ADD ATTRIBUTE no text', 'RENAME ATTRIBUTE zip TO code', 'RENAME ATTRIBUTE code TO zip') }

sub viewing
{
	return pick(
		'CREATE OR REPLACE VIEW seen AS SELECT id, v, n, d, id AS x1 FROM seen_rows',
		'DROP VIEW seen; CREATE VIEW seen AS SELECT id, v, n::text AS n FROM seen_rows; ' . mend('seen'),
		'DROP VIEW seen; ' . mend('seen'),
		'ALTER VIEW seen RENAME COLUMN v TO w', 'ALTER VIEW seen RENAME COLUMN w TO v',
		mend('seen'));
}

sub ddl
{
	my ($table) = @_;
	my $sql = pick((map { alter($table) } 1 .. 4), attaching($table), remake($table), typing());

	return $sql if $sql =~ /;/ || chance(0.6);
	return "BEGIN; $sql; SELECT pg_sleep(" . pick(0.01, 0.05) . '); ' . pick('COMMIT', 'COMMIT', 'ROLLBACK');
}

my @sessions = (
	[ $hub, sub { return pick(sub { ddl('item') }, sub { ddl('part') }, \&partitions, \&viewing)->() } ],
	[ $spoke, sub { return ddl('far') } ],
	(map { my $name = $_; [ FuzzSession->new($node{hub}, $name), sub { return edit(pick(qw(item part seen_rows part_0))) } ] } qw(editor1 editor2)),
	[ FuzzSession->new($node{hub}, 'applier'), sub { return change(pick(qw(item part seen far))) } ],
	(map { my $name = $_; [ FuzzSession->new($node{hub}, $name), sub { return "SELECT sync_deliver('A')" } ] } qw(deliverer1 deliverer2)),
	[ FuzzSession->new($node{hub}, 'poller'), sub { return "CALL sync_poll('seen', " . pick('true', 'false') . ')' } ],
	[ FuzzSession->new($node{hub}, 'loader'), sub { return "CALL sync_load('" . pick(qw(item part seen)) . "', '" . pick(qw(ladder hub table)) . "')" } ],
	[ FuzzSession->new($node{hub}, 'looker'), sub { return 'SELECT count(*) FROM sync_check()' } ],
	[ FuzzSession->new($node{spoke}, 'spoke editor'), sub { return edit('far') } ],
	[ FuzzSession->new($node{spoke}, 'exchanger'), sub { return chance(0.9) ? "CALL sync_exchange('up')" : "CALL sync_load('far')" } ]);

# ---------- the dice ----------

my %states;						# what statements came to, and how often
my @odd;						# what they never should
sub judge
{
	my ($session) = @_;
	my $state = $session->{state} eq '' ? '00000' : $session->{state};

	$states{$state}++;
	# the server's own: two sessions at the same catalog row
	return if $session->{error} =~ /^tuple concurrently (?:updated|deleted)$/;
	push @odd, "$session->{name}: $state $session->{error}\n\tin: $session->{last}" if $state =~ /^XX|^58|^57P/;
}

my $end = time + $seconds;
while (time < $end)
{
	my $any = 0;

	for (@sessions)
	{
		my ($session, $next) = @$_;

		if ($session->{busy})
		{
			next unless $session->answered(0);
			judge($session);
		}
		$session->send($next->());
		$any = 1;
	}
	Session::readable(0.05, map { $_->[0]{out} } @sessions) unless $any;
}
for (map { $_->[0] } @sessions)
{
	next unless $_->{busy};
	$_->answered($PostgreSQL::Test::Utils::timeout_default) or die "no answer to $_->{last}\n";
	judge($_);
}
diag(join(' ', map { "$_: $states{$_}" } sort keys %states));
is(join("\n", @odd), '', 'no statement fails in a way that nobody can mend');
cmp_ok($states{'00000'}, '>', 100, 'and many come to something');

# ---------- what is left behind ----------

for (@sessions)
{
	my ($session) = @$_;
	my $name = $session->{name};

	$session->wait('ROLLBACK');
	is($session->wait("SELECT string_agg(mode || ' on ' || coalesce(relation::text, classid || '/' || objid), ', ') FROM pg_locks WHERE pid = pg_backend_pid() AND locktype NOT IN ('virtualxid') AND relation IS DISTINCT FROM 'pg_locks'::regclass"),
		'', "$name: no lock is left");
	cmp_ok($session->wait("SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'syncext attached relation'"), '<=', 60,
		"$name: descriptions that are outdated go");
	cmp_ok($session->wait('SELECT sum(total_bytes) FROM pg_backend_memory_contexts'), '<', 40_000_000, "$name: memory is level");
}

# ---------- the end ----------

sub tables_as_they_were
{
	my ($session, @tables) = @_;

	for my $table (@tables)
	{
		must($session, "DROP TABLE IF EXISTS ${table}_away CASCADE") if $table ne 'seen';
		must($session, "DROP TABLE IF EXISTS $table CASCADE") if $table ne 'seen';
		must($session, 'DROP TABLE IF EXISTS part_0, part_1, part_2') if $table eq 'part';
		must($session, $table eq 'seen' ? 'CREATE VIEW seen AS SELECT id, v, n, d FROM seen_rows' : $made{$table});
		must($session, "DO 'BEGIN PERFORM sync_detach(relation) FROM syncext.binding WHERE entity = ''$table''; PERFORM " . ($attach{$table} =~ s/'/''/gr) . "; END'");
	}
}
must($hub, 'DROP TYPE address CASCADE; CREATE TYPE address AS (street text, zip text)');
must($spoke, 'DROP TYPE address CASCADE; CREATE TYPE address AS (street text, zip text)');
$hub->wait('DROP VIEW seen');
must($hub, 'DELETE FROM seen_rows');
tables_as_they_were($hub, qw(item part seen));
tables_as_they_were($spoke, 'far');
must($hub, "SELECT sync_redrive('A'), sync_redrive('L')");

my %unloaded;
for my $turn (1 .. 50)
{
	# what a load couldn't write, a value that the table's type can't hold, it says itself
	for ($turn == 1 ? qw(item part seen) : ())
	{
		my $answer = must($hub, "CALL sync_load('$_', 'hub')");
		($unloaded{$_}) = $answer =~ /"failed": (\d+)/ or die "no answer of a load: $answer";
	}
	must($hub, "SELECT sync_resync('L')") if $turn == 1;
	must($spoke, "CALL sync_exchange('up')");
	my $delivered = must($hub, "SELECT sync_deliver('A')");
	my $waiting = must($hub, "SELECT count(*) FROM syncext.outbound_change WHERE target IN ('A', 'L') AND state <> 'dead'");
	last if $delivered == 0 && $waiting == 0;
	sleep 1 if $turn > 5;
}

# Records that a table holds otherwise, and that nobody tells of.
sub compare
{
	my ($session, $table, $records) = @_;

	return must($session, "WITH record AS ($records), held AS (SELECT t.id::text AS id, to_jsonb(t) - 'id' AS row FROM $table t) " .
		"SELECT string_agg(coalesce(r.id, h.id) || ': ' || coalesce(h.row::text, 'no row') || ' for ' || coalesce(r.fields::text, 'no record'), E'\\n') " .
		"FROM record r FULL JOIN held h ON h.id = r.id WHERE r.id IS NULL OR h.id IS NULL OR EXISTS (" .
		"SELECT FROM jsonb_each_text(h.row) c WHERE jsonb_typeof(r.fields->c.key) IS DISTINCT FROM 'object' AND c.value IS DISTINCT FROM r.fields->>c.key AND r.fields ? c.key)");
}
my $records = "SELECT c.external_id AS id, c.fields FROM syncext.canonical c WHERE c.entity = '%s' AND NOT c.deleted " .
	"AND NOT EXISTS (SELECT FROM syncext.outbound_change o WHERE o.target = '%s' AND o.entity = c.entity AND o.external_id = c.external_id)";
for my $table (qw(item part seen))
{
	my $untold = must($hub, "SELECT count(*) FROM syncext.outbound_change WHERE target = 'A' AND entity = '$table'");
	my @differ = split /\n/, compare($hub, "(SELECT * FROM $table t WHERE NOT EXISTS (SELECT FROM syncext.outbound_change o WHERE o.target = 'A' AND o.entity = '$table' AND o.external_id = t.id::text))",
			sprintf($records, $table, 'A'));
	ok(@differ <= $unloaded{$table}, "$table holds what the hub's records say, but for $untold that are told of, and $unloaded{$table} that its load told of")
	  or diag(join("\n", @differ));
}

for my $name (qw(hub spoke))
{
	my $log = slurp_file($node{$name}->logfile);
	unlike($log, qr/PANIC|TRAP:|terminated by signal|detected write past chunk end|leak/, "$name: nothing crashed, and nothing leaked");
}
done_testing();
