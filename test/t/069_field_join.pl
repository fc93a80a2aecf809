# 069_field_join.pl
#	  Records of field ladders at three hubs, of which each saw a part of the changes, in an
#	  order of its own, some of them twice: joined, they are as if one had seen all.  Two of
#	  the hubs are spokes of the third, each as a whole; and each hub has a leaf with tables,
#	  whose edits are joined likewise.
#
# What the changes come to test/model says, which was made from the rules alone.
# SYNCEXT_MODEL_HISTORIES and SYNCEXT_MODEL_SEED ask for other histories.

use strict;
use warnings;

use FindBin;
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $histories = $ENV{SYNCEXT_MODEL_HISTORIES} || 400;
my $seed = $ENV{SYNCEXT_MODEL_SEED} || 1;
my $model = "$FindBin::RealBin/../model/field_histories";
srand($seed);

my @hubs = qw(top left right);
my %leaf = (top => 'leaf1', left => 'leaf2', right => 'leaf3');
my @leaves = map { $leaf{$_} } @hubs;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'END');
fsync = off
max_connections = 50
syncext.retry_base = 100
syncext.retry_max = 1s
END
$node->start;

sub sql
{
	my ($name, $sql) = @_;
	return $node->safe_psql($name, $sql);
}

# ---------- three hubs and three leaves ----------

sub link_to
{
	my ($name, $hub, $source, $relay) = @_;
	my ($host, $port) = ($node->host, $node->port);

	sql($name, qq(
		CREATE EXTENSION dblink;
		CREATE SERVER hub FOREIGN DATA WRAPPER dblink_fdw OPTIONS (host '$host', port '$port', dbname '$hub');
		CREATE USER MAPPING FOR CURRENT_USER SERVER hub;
		BEGIN;
		SELECT sync_link('up', 'hub', '$source', relay => $relay);
		UPDATE syncext.link SET enabled = false;
		COMMIT;
	));
}

# Of the tables' entities each has another ladder, and other deletes.
my $tables = q(
	SELECT sync_add_entity('t1', '{field,latest}'), sync_add_entity('t2', '{field,version}', 'edit_wins'),
	       sync_add_entity('t3', '{field,version,latest}', 'delete_wins');
);

my $file = PostgreSQL::Test::Utils::tempdir() . '/histories';
system("perl '$model' changes $histories $seed > '$file'") == 0 or die 'no histories';
system("perl '$model' model '$file' > '$file.model'") == 0 or die 'no outcomes';

for my $name (@hubs, @leaves)
{
	sql('postgres', "CREATE DATABASE \"$name\"");
	sql($name, "CREATE EXTENSION syncext; $tables");
}
for my $hub (@hubs)
{
	sql($hub, qq(
		CREATE TABLE history (h jsonb);
		COPY history FROM '$file' WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02');
		SELECT count(sync_add_source(s)) FROM unnest('{P,Q,R,S,$leaf{$hub}}'::text[]) s;
		SELECT count(sync_add_entity(e, ARRAY(SELECT jsonb_array_elements_text(h->'ladder')), h->>'deletes'))
		FROM (SELECT DISTINCT ON (h->>'entity') h->>'entity' AS e, h FROM history ORDER BY 1) x;
		INSERT INTO syncext.source_priority
		SELECT DISTINCT p->>0, h->>'entity', p->>2, (p->>3)::int FROM history, jsonb_array_elements(h->'priority') p;
	));
}
sql('top', q(SELECT sync_add_source('left', relay => true), sync_add_source('right', relay => true)));
sql($_, "SELECT sync_add_source('$_')") for qw(left right);
link_to($_, 'top', $_, 'true') for qw(left right);
for my $hub (@hubs)
{
	sql($leaf{$hub}, qq(
		SELECT sync_add_source('$leaf{$hub}');
		CREATE TABLE t1 (id text PRIMARY KEY, a text, b text, c text);
		CREATE TABLE t2 (LIKE t1 INCLUDING ALL);
		CREATE TABLE t3 (LIKE t1 INCLUDING ALL);
		SELECT sync_attach('t1', '$leaf{$hub}', 't1'), sync_attach('t2', '$leaf{$hub}', 't2'), sync_attach('t3', '$leaf{$hub}', 't3');
	));
	link_to($leaf{$hub}, $hub, $leaf{$hub}, 'false');
}

sub exchange
{
	my ($name) = @_;
	my $r = decode_json(sql($name, "CALL sync_exchange('up')"));
	return $r->{pushed} + $r->{pulled} + $r->{failed} + $r->{rejected};
}

# Exchange until there is silence.
sub settle
{
	my $quiet = 0;

	for my $round (1 .. 40)
	{
		my $moved = 0;
		$moved += exchange($_) for qw(left right), @leaves;
		$quiet = $moved == 0 ? $quiet + 1 : 0;
		return $round if $quiet == 2;
	}
	return 0;
}

# ---------- documents ----------

# Each change comes to one hub, some to another one as well, at some time.
for my $phase (0 .. 3)
{
	for my $number (0 .. $#hubs)
	{
		sql($hubs[$number], qq(
			SELECT count(sync_apply(changes))
			FROM (SELECT jsonb_agg(c || jsonb_build_object('entity', h->'entity') ORDER BY hashtext(h->>'n' || i || '$seed order')) AS changes
			      FROM history, jsonb_array_elements(h->'changes') WITH ORDINALITY x (c, i)
			      WHERE $number IN (abs(hashtext(h->>'n' || i || '$seed')) % 3, abs(hashtext(h->>'n' || i || '$seed again')) % 9)
			        AND abs(hashtext(h->>'n' || i || '$seed $hubs[$number]')) % 4 = $phase
			      GROUP BY (h->>'n')::int / 200) b
		));
		exchange($_) for grep { rand() < 0.5 } qw(left right);
	}
}
cmp_ok(settle(), '>', 0, 'there is silence in the end');
for my $hub (@hubs)
{
	sql($hub, qq(
		CREATE TABLE outcome (n int GENERATED ALWAYS AS IDENTITY, o jsonb);
		COPY outcome (o) FROM '$file.model' WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02');
	));
	is(sql($hub, q(
		SELECT string_agg(format('%s: expected %s, got %s %s', n, o, deleted, fields), E'\n')
		FROM (SELECT * FROM outcome o LEFT JOIN syncext.canonical c ON c.external_id = o.n::text AND c.entity LIKE 'e%'
		      WHERE c.deleted IS DISTINCT FROM (o->>'deleted')::boolean OR (NOT c.deleted AND c.fields IS DISTINCT FROM o->'fields')
		      ORDER BY n LIMIT 10) x)), '', "$histories records at $hub are as if it had seen all changes");
}
is(sql($_, q(SELECT count(*) FROM syncext.outbound_change WHERE error IS NOT NULL)), 0, "nothing failed at $_") for @hubs;

# ---------- tables ----------

sub random_edit
{
	my $table = (qw(t1 t2 t3))[ int rand 3 ];
	my $id = int rand 8;
	my $column = (qw(a b c))[ int rand 3 ];
	my $value = int rand 100;
	my $dice = rand;

	return "DELETE FROM $table WHERE id = '$id'" if $dice < 0.25;
	return "INSERT INTO $table (id, $column) VALUES ('$id', '$value') ON CONFLICT (id) DO NOTHING" if $dice < 0.5;
	return "UPDATE $table SET $column = " . ($dice < 0.6 ? 'NULL' : "'$value'") . " WHERE id = '$id'";
}

for my $round (1 .. 40)
{
	for my $name (@leaves)
	{
		sql($name, random_edit()) for 1 .. 1 + int rand 3;
	}
	exchange($_) for grep { rand() < 0.3 } qw(left right), @leaves;
}
cmp_ok(settle(), '>', 0, 'and in the end of edits');
my $rows = join(' UNION ALL ', map { "SELECT '$_' AS entity, id, a, b, c FROM $_" } qw(t1 t2 t3));
my $records = q(SELECT entity, external_id AS id, fields->>'a' AS a, fields->>'b' AS b, fields->>'c' AS c FROM syncext.canonical WHERE entity LIKE 't_' AND NOT deleted);
my $expected = sql('top', "$records ORDER BY 1, 2");
isnt($expected, '', 'there are rows');
is(sql($_, "$records ORDER BY 1, 2"), $expected, "the records at $_ are those of the top") for qw(left right);
is(sql($_, "SELECT * FROM ($rows) x ORDER BY 1, 2"), $expected, "and so are the rows at $_") for @leaves;

# What the hubs have noted of the leaves' edits comes to the same, by the model.
my $changes = q(
	SELECT jsonb_build_object('externalId', external_id, 'source', source, 'entity', entity,
	       'version', coalesce((detail->>'version')::bigint, version), 'fields', fields)
	       || jsonb_strip_nulls(jsonb_build_object('updatedAt', detail->'updatedAt', 'created', detail->'created', 'deleted', detail->'deleted', 'known', detail->'known'))
	FROM syncext.change_log WHERE entity LIKE 't_' AND source LIKE 'leaf_');
my %history;
for my $hub (@hubs)
{
	for my $line (split /\n/, sql($hub, $changes))
	{
		my $change = decode_json($line);
		push @{ $history{"$change->{entity} $change->{externalId}"} }, $line;
	}
}
my %config = (t1 => [ '["field","latest"]', 'latest' ], t2 => [ '["field","version"]', 'edit_wins' ], t3 => [ '["field","version","latest"]', 'delete_wins' ]);
open(my $fh, '>', "$file.tables") or die $!;
for my $key (sort keys %history)
{
	my ($ladder, $deletes) = @{ $config{ (split / /, $key)[0] } };
	print $fh "{\"ladder\":$ladder,\"deletes\":\"$deletes\",\"priority\":[],\"changes\":[" . join(',', @{ $history{$key} }) . "]}\n";
}
close($fh);
my @outcomes = split /\n/, `perl '$model' model '$file.tables'`;
my @modelled;
for my $key (sort keys %history)
{
	my $outcome = decode_json(shift @outcomes);
	next if $outcome->{deleted};
	push @modelled, join('|', split(/ /, $key), map { $outcome->{fields}{$_} // '' } qw(a b c));
}
is(join("\n", @modelled), $expected, 'that is what the edits come to');

# ---------- merged at the top, and undone ----------

# What hubs that are joined have of each record; what sets a value first is each one's own.
my $joined = q(SELECT entity, external_id, deleted, CASE WHEN NOT deleted THEN fields END, CASE WHEN NOT deleted THEN (SELECT jsonb_object_agg(f, jsonb_build_array(s->'updatedAt', CASE WHEN entity <> 't1' THEN s->'version' END))
	FROM jsonb_each(sync_record(entity, external_id)->'stamps') x(f, s)) END FROM syncext.canonical WHERE entity LIKE 't_' ORDER BY 1, 2);
my ($merged, $undone) = (0, 0);

for my $round (1 .. 40)
{
	for my $name (@leaves)
	{
		sql($name, random_edit()) for 1 .. 1 + int rand 2;
	}
	exchange($_) for grep { rand() < 0.3 } qw(left right), @leaves;
	my $pair = rand() < 0.4 ? sql('top', q(SELECT format('%L, %L, %L', a.entity, a.external_id, b.external_id) FROM syncext.canonical a JOIN syncext.canonical b ON b.entity = a.entity AND b.external_id <> a.external_id
		WHERE a.entity LIKE 't_' AND NOT a.deleted AND NOT b.deleted ORDER BY random() LIMIT 1)) : '';
	$merged++, sql('top', "SELECT sync_merge($pair)") if $pair ne '';
	exchange($_) for grep { rand() < 0.3 } qw(left right), @leaves;
	my $last = rand() < 0.3 ? sql('top', q(SELECT max(m.id) FROM syncext.merge m JOIN syncext.canonical k ON k.entity = m.entity AND k.external_id = m.keep_id AND NOT k.deleted
		WHERE m.undone_at IS NULL AND NOT EXISTS (SELECT FROM syncext.merge o WHERE o.entity = m.entity AND o.id > m.id AND o.undone_at IS NULL))) : '';
	$undone++, sql('top', "SELECT sync_unmerge($last)") if $last ne '';
}
cmp_ok(settle(), '>', 0, "and in the end of $merged merges, $undone of them undone");
cmp_ok($undone, '>', 0, 'some are undone');
$expected = sql('top', $joined);
is(sql($_, $joined), $expected, "the records at $_ are those of the top, stamps and all") for qw(left right);
$expected = sql('top', "$records ORDER BY 1, 2");
is(sql($_, "SELECT * FROM ($rows) x ORDER BY 1, 2"), $expected, "and so are the rows at $_") for @leaves;
is(sql('top', q(SELECT count(*) FROM syncext.alias a JOIN syncext.canonical c USING (entity, external_id) WHERE NOT c.deleted)), 0, 'what was merged is gone');

$node->stop;
done_testing();
