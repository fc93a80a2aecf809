# 077_groups.pl
#	  Groups of fields through every door: attached tables, polls, documents, links of two
#	  spokes, a relay, loads and reviewers.  Whatever comes together, no golden record ever
#	  has fields of one group that no single source held together.
#
# What a source held is noted where its rows are edited, by whoever edits them, and not
# where they are delivered; what the golden records were is noted by a trigger on them.
# A change that brings a deleted record back without having known of the delete is written
# upon what the record had: there what counts is what the source was delivered last, with
# what it has said since.
# GROUPS_SEED repeats the dice; GROUPS_ROUNDS is how long they are thrown.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{GROUPS_SEED} // int(time * 1000) % 1_000_000_000;
my $rounds = $ENV{GROUPS_ROUNDS} || 60;
srand($seed);
diag("GROUPS_SEED=$seed GROUPS_ROUNDS=$rounds");

# Of each entity another ladder, and another rule of its group.
my %entity = (
	ranked => [ '{version,merge,priority,manual}', 'priority' ],
	last => [ '{version,merge,overwrite}', 'priority' ],
	clock => [ '{version,latest,merge,priority,manual}', 'latest' ],
	late => [ '{version,merge,priority,manual}', 'latest' ],
	kept => [ '{version,merge,priority,keep}', 'keep' ],
	asked => [ '{version,merge,priority,manual}', 'manual' ]);
my @entities = sort keys %entity;
my @ids = qw(1 2 3);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'END');
fsync = off
max_connections = 40
syncext.retry_base = 50
syncext.retry_max = 200ms
END
$node->start;

my (%session, $value);

sub sql
{
	my ($name, $sql) = @_;
	return $session{$name}->query($sql);
}

# What may fail is tried again, or is none of our business.
sub try
{
	my ($name, $sql) = @_;
	$session{$name}->send($sql);
	my ($out, $error) = $session{$name}->answer;
	chomp $out;
	return ($out, $error);
}

sub pick { return $_[ int rand @_ ] }
sub chance { return rand() < $_[0] }

# ---------- a hub, two spokes, and a relay ----------

my @databases = qw(hub east west region);

# The tables of a source, one of each entity, whose edits are noted as what it holds.
sub make_tables
{
	my ($database, $source, $capture) = @_;

	for my $entity (@entities)
	{
		my $table = lc($source) . "_$entity";
		sql($database, qq(CREATE TABLE $table (id text PRIMARY KEY, a text, bb text, c text, x text, at timestamptz DEFAULT clock_timestamp())));
		sql($database, qq(CREATE TRIGGER note_held AFTER INSERT OR UPDATE ON $table FOR EACH ROW EXECUTE FUNCTION note_held('$entity')));
		sql($database, qq(SELECT sync_attach('$table', '$source', '$entity', columns => '{"a": "a", "bb": "bb", "c": "c", "x": "x"}',
			capture => '$capture', updated_column => 'at')));
	}
}

for my $database (@databases)
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$session{$database} = Session->new($node->connstr($database));
	sql($database, 'CREATE EXTENSION syncext');
	sql($database, "SELECT sync_add_entity('$_', '$entity{$_}[0]')") for @entities;
	sql($database, "SELECT sync_rule('$_->[0]', '$_->[1]', '$entity{$_->[0]}[1]', '{\"group\": \"g\"}')")
		for map { my $e = $_; map { [ $e, $_ ] } qw(a bb c) } @entities;
	sql($database, q(CREATE TABLE held (entity text, id text, state jsonb)));
	sql($database, q(CREATE TABLE delivered (source text, entity text, id text, state jsonb, PRIMARY KEY (source, entity, id))));
	sql($database, q(CREATE TABLE claimed (LIKE held)));
	sql($database, q(CREATE TABLE golden (n serial, entity text, id text, state jsonb, revived boolean, record jsonb)));
	sql($database, q(CREATE FUNCTION of_group(record jsonb) RETURNS jsonb LANGUAGE sql AS
		$$ SELECT jsonb_strip_nulls(jsonb_build_object('a', $1->'a', 'bb', $1->'bb', 'c', $1->'c')) $$));
	sql($database, q(CREATE FUNCTION note_held() RETURNS trigger LANGUAGE plpgsql AS $$
		DECLARE
			was jsonb := coalesce((SELECT d.state FROM delivered d WHERE d.source = TG_TABLE_NAME AND d.entity = TG_ARGV[0] AND d.id = NEW.id), '{}');
		BEGIN
			IF coalesce(current_setting('syncext.inbound', true), '') = '' THEN
				INSERT INTO held VALUES (TG_ARGV[0], NEW.id, of_group(to_jsonb(NEW)));
				-- what this edit alters
				was := was || (SELECT coalesce(jsonb_object_agg(n.key, n.value), '{}') FROM jsonb_each(to_jsonb(NEW)) n
				               WHERE TG_OP = 'INSERT' AND n.value <> 'null' OR TG_OP = 'UPDATE' AND n.value <> to_jsonb(OLD)->n.key);
				INSERT INTO claimed VALUES (TG_ARGV[0], NEW.id, of_group(was));
			ELSE
				INSERT INTO delivered VALUES (TG_TABLE_NAME, TG_ARGV[0], NEW.id, to_jsonb(NEW))
				ON CONFLICT (source, entity, id) DO UPDATE SET state = excluded.state;
			END IF;
			RETURN NULL;
		END $$));
	sql($database, q(CREATE FUNCTION note_golden() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO golden (entity, id, state, revived, record)
				SELECT NEW.entity, NEW.external_id, of_group(NEW.fields), TG_OP = 'UPDATE' AND OLD.deleted, to_jsonb(NEW) WHERE NOT NEW.deleted;
			RETURN NULL;
		END $$));
	sql($database, 'CREATE TRIGGER note_golden AFTER INSERT OR UPDATE ON syncext.canonical FOR EACH ROW EXECUTE FUNCTION note_golden()');
}

sub link_to_hub
{
	my ($database, $source, $relay) = @_;
	my ($host, $port) = ($node->host, $node->port);

	sql($database, 'CREATE EXTENSION dblink');
	sql($database, "CREATE SERVER hub FOREIGN DATA WRAPPER dblink_fdw OPTIONS (host '$host', port '$port', dbname 'hub')");
	sql($database, 'CREATE USER MAPPING FOR CURRENT_USER SERVER hub');
	sql($database, "BEGIN; SELECT sync_link('up', 'hub', '$source', relay => $relay); UPDATE syncext.link SET enabled = false; COMMIT");
}

sql('hub', "SELECT sync_add_source('$_->[0]', $_->[1], relay => $_->[2])")
	for [ 'Desk', 2, 'false' ], [ 'Feed', 4, 'false' ], [ 'East', 1, 'false' ], [ 'West', 2, 'false' ], [ 'Region', 3, 'true' ], [ 'Office', 3, 'false' ];
sql('east', "SELECT sync_add_source('East')");
sql('west', "SELECT sync_add_source('West')");
sql('region', "SELECT sync_add_source('Region', 1), sync_add_source('Counter', 2), sync_add_source('Gauge', 3)");
link_to_hub('east', 'East', 'false');
link_to_hub('west', 'West', 'false');
link_to_hub('region', 'Region', 'true');
make_tables('hub', 'Desk', 'trigger');
make_tables('hub', 'Feed', 'poll');
make_tables('east', 'East', 'trigger');
make_tables('west', 'West', 'trigger');
make_tables('region', 'Counter', 'trigger');
make_tables('region', 'Gauge', 'poll');

# An office that sends what it changes by the row version that it last saw, and knows
# what it saw.
sql('hub', 'CREATE TABLE office (entity text, id text, base bigint, state jsonb, PRIMARY KEY (entity, id))');
sql('hub', q(CREATE FUNCTION office(entity text, id text, fields jsonb) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		mine office;
		answer jsonb;
	BEGIN
		IF random() < 0.5 THEN
			DELETE FROM office o WHERE o.entity = $1 AND o.id = $2;
			INSERT INTO office SELECT $1, $2, r.row_version, CASE WHEN r.deleted THEN '{}' ELSE r.fields END
				FROM syncext.canonical r WHERE r.entity = $1 AND r.external_id = $2;
		END IF;
		SELECT * INTO mine FROM office o WHERE o.entity = $1 AND o.id = $2;
		INSERT INTO held SELECT $1, $2, jsonb_strip_nulls(jsonb_build_object('a', s->'a', 'bb', s->'bb', 'c', s->'c')) FROM (SELECT coalesce(mine.state, '{}') || $3) x (s);
		answer := sync_apply(jsonb_build_object('source', 'Office', 'entity', $1, 'externalId', $2, 'base', coalesce(mine.base, 0), 'updatedAt', clock_timestamp(), 'fields', $3));
		-- what it sent is answered: it looks again before it says more
		DELETE FROM office o WHERE o.entity = $1 AND o.id = $2;
		INSERT INTO office SELECT $1, $2, r.row_version, CASE WHEN r.deleted THEN '{}' ELSE r.fields END
			FROM syncext.canonical r WHERE r.entity = $1 AND r.external_id = $2;
		RETURN answer->>'resolution';
	END $$));

# ---------- what happens ----------

my %count;

# Fields of the group, or another one: of a change that waits for a reviewer as another
# field is contested nothing is written, and what its source says next of the group is
# decided without it.
sub fields
{
	return (x => "'v" . ++$value . "'") if chance(0.25);
	my %fields = map { $_ => chance(0.1) ? 'NULL' : "'v" . ++$value . "'" } grep { chance(0.4) } qw(a bb c);
	$fields{ pick(qw(a bb c)) } = "'v" . ++$value . "'" unless %fields;
	return %fields;
}

sub edit
{
	my ($database, $source) = @_;
	my ($entity, $id) = (pick(@entities), pick(@ids));
	my $table = lc($source) . "_$entity";
	my %fields = fields();
	my @names = sort keys %fields;
	my $dice = rand();

	return try($database, "DELETE FROM $table WHERE id = '$id'") if $dice < 0.08;
	my $set = join(', ', map { "$_ = $fields{$_}" } @names);
	my ($out, $error) = try($database, sprintf("INSERT INTO $table (id, %s) VALUES ('$id', %s) ON CONFLICT (id) DO UPDATE SET $set, at = clock_timestamp()",
		join(', ', @names), join(', ', @fields{@names})));
	$count{edits}++ if $error eq '';
	is($error, '', "edit of $table") if $error ne '' && $error !~ /lock timeout|deadlock|serialize/;
}

sub send_office
{
	my %fields = fields();
	my $json = join(', ', map { my $v = $fields{$_}; $v =~ tr/'/"/; "\"$_\": " . lc($v) } keys %fields);
	my ($out, $error) = try('hub', sprintf("SELECT office('%s', '%s', '{%s}')", pick(@entities), pick(@ids), $json));
	is($error, '', 'the office is answered') if $error ne '';
	$count{documents}++;
}

sub exchange
{
	my ($database) = @_;
	my ($out, $error) = try($database, "CALL sync_exchange('up')");
	is($error, '', "$database exchanges") if $error ne '';
	$count{"pushed by $database"} += $out =~ /"pushed": (\d+)/ ? $1 : 0;
	return $out;
}

sub poll
{
	my ($database, $source) = @_;
	my $table = lc($source) . '_' . pick(@entities);
	my ($out, $error) = try($database, "CALL sync_poll('$table', " . pick('true', 'false') . ')');
	is($error, '', "$table is polled") if $error ne '';
}

sub load
{
	my ($database, $source, @winner) = @_;
	my $table = lc($source) . '_' . pick(@entities);
	my ($out, $error) = try($database, "CALL sync_load('$table', '" . pick(@winner ? @winner : qw(ladder ladder hub table)) . "')");
	is($error, '', "$table is loaded") if $error ne '';
	$count{loads}++;
}

sub review
{
	my ($database) = @_;
	my ($conflict) = try($database, q(SELECT id FROM syncext.conflict_log WHERE status = 'pending' ORDER BY random() LIMIT 1));
	return if $conflict eq '';
	my $decision = pick(qw(ladder ladder incoming canonical));
	my ($out, $error) = try($database, "SELECT sync_resolve($conflict, '$decision')->>'resolution'");
	$count{reviewed}++ if $error eq '';
	# whom ranks and rules leave undecided
	is($error, '', "a reviewer decides $decision") if $error ne '' && $decision ne 'ladder';
}

# Ranks change meanwhile, so that reviewers' ladder decides.
sub rank
{
	sql('hub', sprintf("UPDATE syncext.source_priority SET priority = %d WHERE source = '%s'", 1 + int rand 4, pick(qw(Desk Feed East West Region Office))));
}

my @happenings = (
	(map { my $p = $_; sub { edit(@$p) } } ([ 'hub', 'Desk' ], [ 'hub', 'Feed' ], [ 'east', 'East' ], [ 'west', 'West' ], [ 'region', 'Counter' ], [ 'region', 'Gauge' ]) x 3),
	(\&send_office) x 2,
	(map { my $d = $_; sub { exchange($d) } } (qw(east west region)) x 2),
	(map { my $p = $_; sub { try('hub', "SELECT sync_deliver('$p')") } } qw(Desk Feed)), (map { my $p = $_; sub { try('region', "SELECT sync_deliver('$p')") } } qw(Counter Gauge)),
	sub { poll('hub', 'Feed') }, sub { poll('region', 'Gauge') },
	(sub { review('hub') }) x 2, sub { review('region') });
my @seldom = (sub { load('hub', 'Desk') }, sub { load('hub', 'Feed') }, sub { load('east', 'East', 'ladder') }, sub { load('west', 'West', 'ladder') }, sub { load('region', 'Counter') }, sub { load('region', 'Gauge') }, \&rank);

for my $round (1 .. $rounds)
{
	pick(@happenings)->() for 1 .. 12;
	pick(@seldom)->() if chance(0.4);
}
for (1 .. 3)
{
	for my $entity (@entities)
	{
		sql('hub', "CALL sync_poll('feed_$entity', true)");
		sql('region', "CALL sync_poll('gauge_$entity', true)");
	}
	exchange($_) for qw(east west region);
	try('hub', "SELECT sync_deliver('Desk'), sync_deliver('Feed')");
	try('region', "SELECT sync_deliver('Counter'), sync_deliver('Gauge')");
}

# ---------- what came of it ----------

# What anybody held, in one place
my $held = PostgreSQL::Test::Utils::tempdir() . '/held';
for my $database (@databases)
{
	sql($database, "COPY (SELECT entity, id, state, false FROM held UNION ALL SELECT entity, id, state, true FROM claimed) TO '$held.$database'");
}
for my $database (qw(hub region))
{
	sql($database, 'CREATE TABLE all_held (LIKE held, claimed boolean)');
	sql($database, "COPY all_held FROM '$held.$_'") for @databases;
	sql($database, 'CREATE INDEX ON all_held (entity, id)');
	my $torn = sql($database, q(SELECT g.entity, g.id, g.record->>'row_version' FROM golden g
		WHERE NOT EXISTS (SELECT FROM all_held h WHERE h.entity = g.entity AND h.id = g.id AND h.state @> g.state
		                  AND (NOT h.claimed OR EXISTS (SELECT FROM golden r WHERE r.revived AND r.entity = g.entity AND r.id = g.id AND r.state = g.state)))
		ORDER BY n LIMIT 1));
	is($torn, '', "no golden record of $database ever was torn");
	# how it came to that
	diag(sql($database, "SELECT seq, recorded_at, source, version, row_version, resolution, fields, detail FROM syncext.change_log
		WHERE entity = '$1' AND external_id = '$2' ORDER BY seq"), "\n",
		sql($database, "SELECT * FROM golden WHERE entity = '$1' AND id = '$2' ORDER BY n"), "\n", sql($database, "SELECT * FROM all_held WHERE entity = '$1' AND id = '$2'")) if $torn =~ /(.*)\|(.*)\|(.*)/;
	cmp_ok(sql($database, 'SELECT count(*) FROM golden WHERE (SELECT count(*) FROM jsonb_object_keys(state)) > 1'), '>', $rounds / 2, "$database: there were many");
}
is(sql('hub', "SELECT count(*) > 0 FROM syncext.change_log WHERE source = '$_'"), 't', "$_ had its say") for qw(Desk Feed East West Region Office);
cmp_ok($count{$_} // 0, '>', 0, "$_: $count{$_}") for 'edits', 'documents', 'loads', 'reviewed', map { "pushed by $_" } qw(east west region);
is(sql('hub', "SELECT count(*) > 0 FROM syncext.change_log WHERE resolution = '$_'"), 't', "$_ was there") for qw(PRIORITY_WIN FIELD_RULE MANUAL OVERWRITE);
diag(join(', ', map { "$_ $count{$_}" } sort keys %count));

$_->quit for values %session;
$node->stop;
done_testing();
