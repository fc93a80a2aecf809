# 062_chain.pl
#	  A chain of three hubs: the middle one is a spoke of the top, and has a spoke
#	  and a table of its own.  What is edited anywhere comes everywhere, in a number
#	  of exchanges that is known, and then there is silence.
#
#	top		customer, attached to source Desk; sources Branch (middle) and Office
#	middle	customer, attached to source Counter; source Branch stands for the top,
#			no relation is attached to it; source Stall is the leaf
#	leaf	customer, attached to source Stall
#
# Nothing happens by itself here: the links' workers rest, so that exchanges and
# deliveries can be counted.
#
# In the end random edits fall on such a chain: see Convergence.pm.  CONVERGENCE_SEED
# repeats a dice (but not who was faster); CONVERGENCE_ROUNDS is how long it is thrown.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Convergence;
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{CONVERGENCE_SEED} // int(time * 1000) % 1_000_000_000;
my $rounds = $ENV{CONVERGENCE_ROUNDS} || 45;
srand($seed);
diag("CONVERGENCE_SEED=$seed CONVERGENCE_ROUNDS=$rounds");

my %node;
for my $name (qw(top middle leaf))
{
	$node{$name} = PostgreSQL::Test::Cluster->new($name);
	$node{$name}->init;
	$node{$name}->append_conf('postgresql.conf', <<'END');
fsync = off
max_connections = 20
syncext.retry_base = 100
syncext.retry_max = 1s
END
	$node{$name}->start;
}

sub sql
{
	my ($name, $sql) = @_;
	return $node{$name}->safe_psql('postgres', $sql);
}

# Exchange once; returns what came of it.
sub exchange
{
	my ($name) = @_;
	return decode_json(sql($name, "CALL sync_exchange('up')"));
}

# The tables of a hub itself.
my %desk = (top => 'Desk', middle => 'Counter');
sub deliver
{
	my ($name) = @_;
	return sql($name, "SELECT sync_deliver('$desk{$name}')");
}

# Exchange the length of the chain until nothing moves any more.  Returns how
# many exchanges moved something, and how many rows the hubs' own tables got.
sub settle
{
	my @nodes = @_ ? @_ : qw(leaf middle);
	my ($moved, $delivered, $quiet) = (0, 0, 0);

	for my $round (1 .. 30)
	{
		my $n = 0;
		for my $name (@nodes)
		{
			my $r = exchange($name);
			$n++ if $r->{pushed} + $r->{pulled} + $r->{failed} + $r->{rejected} > 0;
		}
		my $rows = deliver('top') + deliver('middle');
		$moved += $n;
		$delivered += $rows;
		$quiet = $n + $rows == 0 ? $quiet + 1 : 0;
		return ($moved, $delivered) if $quiet == 2;
	}
	return (-1, -1);
}

# Everything that there is of a customer, wherever it stands.
my $columns = 'name, phone, city, note';
sub rows
{
	my ($name, $where) = @_;
	return sql($name, "SELECT id, $columns FROM customer WHERE $where ORDER BY id COLLATE \"C\"");
}
sub records
{
	my ($name, $where) = @_;
	return sql($name, "SELECT id, $columns FROM (SELECT external_id AS id, fields->>'name' AS name,
		fields->>'phone' AS phone, fields->>'city' AS city, fields->>'note' AS note
		FROM syncext.canonical WHERE entity = 'customer' AND NOT deleted) c WHERE $where ORDER BY id");
}
sub agree
{
	my ($what, $expected, $where, @places) = @_;
	my %there;

	$where //= 'true';
	@places = qw(top middle leaf) unless @places;
	for my $name (@places)
	{
		$there{"the table of $name"} = rows($name, $where);
		$there{"the records of $name"} = records($name, $where) if $name ne 'leaf';
	}
	$expected //= $there{"the records of $places[0]"} // $there{"the table of $places[0]"};
	is(join("\n", map { "$_:\n$there{$_}" } sort keys %there),
		join("\n", map { "$_:\n$expected" } sort keys %there), "$what: all agree");
}

sub log_rows
{
	return { map { $_ => sql($_, 'SELECT count(*) FROM syncext.change_log') } qw(top middle leaf) };
}

# Something is done at one place; says how much it may move until silence, and
# how many rows each log gets of it.  One more would be an echo.
sub moves
{
	my ($what, $name, $sql, $exchanges, $deliveries, $logged) = @_;
	my $before = log_rows();

	sql($name, $sql);
	my ($moved, $delivered) = settle();
	is("$moved $delivered", "$exchanges $deliveries", "$what: exchanges that move anything until silence, rows delivered");
	my $after = log_rows();
	is(join(' ', map { $after->{$_} - $before->{$_} } qw(top middle leaf)), $logged, "$what: no log gets an echo");
}

# ---------- the chain ----------

# Office is ranked before the middle, for phone and city; Counter before the
# leaf.  On name, top and middle are a match for each other; on note, nobody
# knows what the middle would say, as its ladder is another.
sql('top', q(
	CREATE EXTENSION syncext;
	CREATE TABLE customer (id text PRIMARY KEY, name text, phone text, city text, note text);
	SELECT sync_add_source('Branch', relay => true), sync_add_source('Office'), sync_add_source('Desk');
	SELECT sync_add_entity('customer'), sync_add_entity('remark', '{latest,keep}');
	INSERT INTO syncext.source_priority VALUES ('Office', 'customer', 'phone', 1), ('Desk', 'customer', 'phone', 2),
		('Branch', 'customer', 'phone', 3), ('Branch', 'customer', 'city', 1), ('Office', 'customer', 'city', 2);
	SELECT sync_attach('customer', 'Desk', 'customer');
	CREATE FUNCTION office(id text, fields jsonb) RETURNS text LANGUAGE sql AS $$
		SELECT sync_apply(jsonb_build_object('source', 'Office', 'entity', 'customer', 'externalId', $1, 'fields', $2,
			'base', coalesce((SELECT row_version FROM syncext.canonical WHERE entity = 'customer' AND external_id = $1), 0)))
			->>'resolution' $$;
));
sub make_spoke
{
	my ($name, $hub, $source, $relay, $setup) = @_;
	my ($host, $port) = ($node{$hub}->host, $node{$hub}->port);

	sql($name, qq(
		CREATE EXTENSION syncext;
		CREATE EXTENSION dblink;
		CREATE TABLE customer (id text PRIMARY KEY, name text, phone text, city text, note text);
		SELECT sync_add_source('$source');
		CREATE SERVER hub FOREIGN DATA WRAPPER dblink_fdw OPTIONS (host '$host', port '$port', dbname 'postgres');
		CREATE USER MAPPING FOR CURRENT_USER SERVER hub;
		$setup
		BEGIN;
		SELECT sync_link('up', 'hub', '$source', relay => $relay);
		UPDATE syncext.link SET enabled = false;
		COMMIT;
	));
}
make_spoke('middle', 'top', 'Branch', 'true', q(
	SELECT sync_add_source('Counter', 1), sync_add_source('Stall', 2);
	SELECT sync_add_entity('customer');
	SELECT sync_attach('customer', 'Counter', 'customer');
));
make_spoke('leaf', 'middle', 'Stall', 'false', q(
	SELECT sync_add_entity('customer');
	SELECT sync_attach('customer', 'Stall', 'customer');
));
is(sql('middle', "SELECT count(*) FROM syncext.binding WHERE source = 'Branch'"), 0, 'no relation is attached to the source that is linked');

# ---------- one edit at a time ----------

moves('an insert at the leaf', 'leaf', "INSERT INTO customer VALUES ('1', 'Ann', '11', 'Rome')", 2, 2, '1 1 1');
agree('inserted at the leaf', '1|Ann|11|Rome|');
is(sql('top', q(SELECT string_agg(DISTINCT source, ' ') FROM syncext.change_log)), 'Branch', 'the top knows the middle, not who stands behind it');
moves('an edit at the leaf', 'leaf', "UPDATE customer SET phone = '12' WHERE id = '1'", 2, 2, '1 1 1');
agree('edited at the leaf', '1|Ann|12|Rome|');
moves('an edit at the top', 'top', q(SELECT office('1', '{"phone": "13"}')), 2, 2, '1 1 0');
agree('edited at the top', '1|Ann|13|Rome|');
moves('an edit of the table at the top', 'top', "UPDATE customer SET city = 'Pisa' WHERE id = '1'", 2, 1, '1 1 0');
agree('edited in the table at the top', '1|Ann|13|Pisa|');
moves('an edit in the middle', 'middle', "UPDATE customer SET note = 'mid' WHERE id = '1'", 2, 1, '1 1 0');
agree('edited in the middle', '1|Ann|13|Pisa|mid');
moves('a row that is written and not changed', 'leaf', "UPDATE customer SET phone = phone", 0, 0, '0 0 0');
moves('nothing at all', 'top', 'SELECT 1', 0, 0, '0 0 0');

moves('inserts everywhere: the leaf', 'leaf', "INSERT INTO customer VALUES ('2', 'Bob'), ('3', 'Cy')", 2, 4, '2 2 2');
moves('inserts everywhere: the middle', 'middle', "INSERT INTO customer VALUES ('4', 'Dan'), ('5', 'Eve')", 2, 2, '2 2 0');
moves('inserts everywhere: the top', 'top', "INSERT INTO customer VALUES ('6', 'Fay'), ('7', 'Gil')", 2, 2, '2 2 0');

moves('a delete at the leaf', 'leaf', "DELETE FROM customer WHERE id = '4'", 2, 2, '1 1 1');
moves('a delete in the middle', 'middle', "DELETE FROM customer WHERE id = '6'", 2, 1, '1 1 0');
moves('a delete at the top', 'top', "DELETE FROM customer WHERE id = '2'", 2, 1, '1 1 0');
agree('deletes', "1|Ann|13|Pisa|mid\n3|Cy|||\n5|Eve|||\n7|Gil|||");
moves('a row that comes back', 'leaf', "INSERT INTO customer VALUES ('6', 'Flo', '66')", 2, 2, '1 1 1');
agree('a row that came back', "6|Flo|66||", "id = '6'");
moves('a row that went and came back', 'middle', "DELETE FROM customer WHERE id = '6'; INSERT INTO customer VALUES ('6', 'Fred')", 2, 1, '1 2 0');
agree('a row that went and came back', "6|Fred|||", "id = '6'");
moves('a row that came and went', 'leaf', "INSERT INTO customer VALUES ('9', 'Nil'); DELETE FROM customer WHERE id = '9'", 0, 0, '0 0 2');
agree('a row that came and went', '', "id = '9'");
moves('another key', 'leaf', "UPDATE customer SET id = '8' WHERE id = '7'", 2, 4, '2 2 2');
agree('another key', "8|Gil|||", "id IN ('7', '8')");

# ---------- several at once: other fields ----------

sql('top', "UPDATE customer SET name = 'Anna' WHERE id = '1'");
is(sql('top', q(SELECT office('1', '{"city": "Siena"}'))), 'VERSION_WIN', 'the top edits two fields');
sql('middle', "UPDATE customer SET note = 'middle' WHERE id = '1'");
sql('leaf', "UPDATE customer SET phone = '14' WHERE id = '1'");
my ($moved) = settle();
# the leaf's, the middle's that takes both there and brings the top's, the leaf's again
cmp_ok($moved, '<=', 4, "edits of four fields in three places are merged ($moved exchanges moved something)");
agree('four fields', "1|Anna|14|Siena|middle", "id = '1'");
is(sql($_, 'SELECT count(*) FROM syncext.conflict_log'), 0, "without a conflict at the $_") for qw(top middle);

# ---------- several at once: one field, the ladder decides ----------

# Office before the middle
sql('leaf', "UPDATE customer SET phone = 'leaf' WHERE id = '1'");
sql('middle', "UPDATE customer SET phone = 'middle' WHERE id = '1'");
sql('top', q(SELECT office('1', '{"phone": "office"}')));
($moved) = settle();
cmp_ok($moved, '<=', 5, "one field in three places comes to rest ($moved exchanges moved something)");
agree('one field, and the top is ranked first', "1|Anna|office|Siena|middle", "id = '1'");
is(sql('middle', q(SELECT fields->>'phone' FROM syncext.change_log WHERE source = 'Stall' AND resolution = 'PRIORITY_WIN' AND detail->>'lost' IS NOT NULL)),
	'leaf', 'the middle tells of what it decided against its leaf');
is(sql('top', q(SELECT fields->>'phone' FROM syncext.change_log WHERE source = 'Branch' AND resolution = 'PRIORITY_WIN' AND detail->>'lost' IS NOT NULL)),
	'middle', 'the top of what it decided against the middle');

# the middle before Office; there the leaf is ranked last
sql('leaf', "UPDATE customer SET city = 'Lucca' WHERE id = '1'");
sql('middle', "UPDATE customer SET city = 'Massa' WHERE id = '1'");
sql('top', q(SELECT office('1', '{"city": "Prato"}')));
($moved) = settle();
cmp_ok($moved, '<=', 5, "and so it does where the middle is ranked first ($moved exchanges moved something)");
agree('one field, and the middle is ranked first', "1|Anna|office|Massa|middle", "id = '1'");

# the leaf alone against the top: the middle takes it, the top doesn't
sql('leaf', "UPDATE customer SET phone = 'leaf again', note = 'leaf' WHERE id = '1'");
sql('top', q(SELECT office('1', '{"phone": "office again"}')));
($moved) = settle();
cmp_ok($moved, '<=', 4, "an edit that the middle took and the top did not ($moved exchanges moved something)");
agree('what the top decided comes to the leaf', "1|Anna|office again|Massa|leaf", "id = '1'");
sql('leaf', "UPDATE customer SET phone = 'at last' WHERE id = '1'");
settle();
agree('who has seen it may edit it', "1|Anna|at last|Massa|leaf", "id = '1'");

# ---------- a delete meets an edit ----------

sql('leaf', "DELETE FROM customer WHERE id = '3'");
sql('middle', "UPDATE customer SET note = 'kept' WHERE id = '3'");
settle();
# by the middle's ladder Counter is before the leaf
agree('a delete that the middle decided against', "3|Cy|||kept", "id = '3'");

# ---------- a conflict for review ----------

# The middle is cut off while it is pending; what goes on there is not held up.
sql('leaf', "UPDATE customer SET name = 'Annie' WHERE id = '1'");
sql('top', q(SELECT office('1', '{"name": "Anita"}')));
my $result = exchange('leaf');
is("$result->{pushed} $result->{conflicts}", '1 0', 'the middle has nothing against the leaf\'s edit');
$result = exchange('middle');
is("$result->{pushed} $result->{conflicts}", '1 1', 'at the top it is a conflict');
($moved) = settle();
cmp_ok($moved, '<=', 2, 'which makes no noise while it is pending');
is(join(' ', map { sql($_, "SELECT name FROM customer WHERE id = '1'") } qw(top middle leaf)), 'Anita Annie Annie',
	'each side keeps its own meanwhile');
moves('an edit of another field', 'top', q(SELECT office('1', '{"note": "meanwhile"}')), 2, 2, '1 1 0');
is(join(' ', map { sql($_, "SELECT name || ':' || note FROM customer WHERE id = '1'") } qw(top middle leaf)),
	'Anita:meanwhile Annie:meanwhile Annie:meanwhile', 'other fields pass, the contested one does not');
sql('top', "SELECT sync_resolve(id, 'canonical') FROM syncext.conflict_log WHERE status = 'pending'");
($moved) = settle();
is($moved, 2, 'decided for the top, it goes down the chain');
agree('resolved for the top', "1|Anita|at last|Massa|meanwhile", "id = '1'");

sql('leaf', "UPDATE customer SET name = 'Annette' WHERE id = '1'");
sql('top', q(SELECT office('1', '{"name": "Antje"}')));
settle();
sql('top', "SELECT sync_resolve(id, 'incoming') FROM syncext.conflict_log WHERE status = 'pending'");
settle();
agree('resolved for the leaf', "1|Annette|at last|Massa|meanwhile", "id = '1'");

sql('leaf', "UPDATE customer SET name = 'Anouk' WHERE id = '1'");
sql('top', q(SELECT office('1', '{"name": "Anja"}')));
settle();
sql('top', q(SELECT sync_resolve(id, 'merge', '{"name": "Anouk Anja"}') FROM syncext.conflict_log WHERE status = 'pending'));
settle();
agree('resolved with something else', "1|Anouk Anja|at last|Massa|meanwhile", "id = '1'");

# An edit made on what was kept back until then is no edit on what the top has.
sql('middle', "UPDATE customer SET name = 'M1' WHERE id = '1'");
sql('top', q(SELECT office('1', '{"name": "T1"}')));
settle();
sql('top', q(SELECT office('1', '{"note": "n1"}')));
settle();
is(sql('middle', "SELECT name, note FROM customer WHERE id = '1'"), 'M1|n1', 'the middle knows all but the contested field');
sql('middle', "UPDATE customer SET name = 'M2' WHERE id = '1'");
settle();
is(sql('top', "SELECT fields->>'name' FROM syncext.canonical WHERE external_id = '1'"), 'T1',
	'so its next edit of that field is not taken for one that was made on the top\'s value');
is(sql('top', "SELECT string_agg(incoming->>'name', ' ') FROM syncext.conflict_log WHERE status = 'pending'"), 'M2', 'but is a conflict again');
sql('top', "SELECT sync_resolve(id, 'incoming') FROM syncext.conflict_log WHERE status = 'pending'");
settle();
agree('decided', "1|M2|at last|Massa|n1", "id = '1'");

# ---------- cut off ----------

sql('leaf', "UPDATE customer SET phone = '1-leaf' WHERE id = '1'; INSERT INTO customer VALUES ('10', 'Leaf'); DELETE FROM customer WHERE id = '5'");
sql('middle', "INSERT INTO customer VALUES ('11', 'Middle'); UPDATE customer SET note = '3-middle' WHERE id = '3'");
sql('top', "INSERT INTO customer VALUES ('12', 'Top'); UPDATE customer SET city = '3-top' WHERE id = '3'; UPDATE customer SET note = '8-top' WHERE id = '8'");
$node{top}->stop;
sql('leaf', 'SELECT 1');
for my $day (1 .. 3)
{
	exchange('leaf');
	deliver('middle');
	exchange('leaf');
	agree("without the top, day $day", undef, 'true', qw(middle leaf));
	sql('leaf', "UPDATE customer SET phone = 'day $day' WHERE id = '8'; UPDATE customer SET phone = 'day $day' WHERE id = '11'");
	sql('middle', "UPDATE customer SET name = name || '$day' WHERE id = '8'");
}
like((($node{middle}->psql('postgres', "CALL sync_exchange('up')"))[2]), qr/link "up" could not connect to its hub/, 'the top is away');
$node{top}->start;
my $before = log_rows()->{top};
($moved) = settle();
cmp_ok($moved, '<=', 5, "all is exchanged when it is back ($moved exchanges moved something)");
agree('when the top is back', "1|M2|1-leaf|Massa|n1\n10|Leaf|||\n11|Middle|day 3||\n12|Top|||\n3|Cy||3-top|3-middle\n6|Fred|||\n8|Gil123|day 3||8-top");
is(log_rows()->{top} - $before, 6, 'what happened to a record meanwhile is one change to the top');

# ---------- a record without some fields ----------

# Fields that a new life of a record doesn't have don't stay behind at the top.
sub remark
{
	my ($rest) = @_;
	return "SELECT sync_apply(jsonb_build_object('source', 'Kiosk', 'entity', 'remark', 'externalId', 'r', 'updatedAt', clock_timestamp(), 'base',
		coalesce((SELECT row_version FROM syncext.canonical WHERE external_id = 'r'), 0)) || '$rest')";
}
sql('middle', "SELECT sync_add_entity('remark', '{version,merge,priority,keep}'), sync_add_source('Kiosk'), sync_subscribe('Stall', '{customer}'); " .
	remark('{"fields": {"text": "old", "by": "Kim", "size": 3}}'));
settle();
sql('middle', remark('{"deleted": true}') . '; ' . remark('{"base": 0, "fields": {"text": "new"}}'));
($moved) = settle();
is($moved, 1, 'a new life is one change');
is(sql('top', "SELECT fields FROM syncext.canonical WHERE external_id = 'r'"), '{"by": null, "size": null, "text": "new"}',
	'in which the fields of the life before are gone');
is(sql('middle', "SELECT fields FROM syncext.canonical WHERE external_id = 'r'"), '{"text": "new"}', 'as they are in the middle');

# Nor when the top has heard of the delete before.
sql('middle', remark('{"fields": {"by": "Kim", "size": 3}}'));
settle();
sql('middle', remark('{"deleted": true}'));
settle();
sql('middle', remark('{"base": 0, "fields": {"text": "new"}}'));
settle();
is(sql('top', "SELECT jsonb_strip_nulls(fields) FROM syncext.canonical WHERE external_id = 'r'"), '{"text": "new"}', 'nor those that a delete left behind there');

# Nor do they below, when the new life begins at the top.
sub fields_of_remark
{
	my ($name) = @_;
	return sql($name, "SELECT jsonb_strip_nulls(fields) FROM syncext.canonical WHERE external_id = 'r' AND NOT deleted");
}
sub at_top
{
	my ($rest) = @_;
	return "SELECT sync_apply(jsonb_build_object('source', 'Office', 'entity', 'remark', 'externalId', 'r', 'updatedAt', clock_timestamp(),
		'base', (SELECT row_version FROM syncext.canonical WHERE external_id = 'r')) || '$rest')";
}
sql('top', at_top('{"fields": {"text": "top", "by": "Tom", "size": 4}}'));
settle();
sql('top', at_top('{"deleted": true}') . '; ' . at_top('{"base": 0, "fields": {"text": "newer"}}'));
settle();
is(fields_of_remark($_), '{"text": "newer"}', "a new life that began at the top, at the $_") for qw(top middle);

# An edit of one field brings back a record that was deleted above: with all that
# it had.
sql('top', at_top('{"fields": {"text": "top", "by": "Tom", "size": 5}}'));
settle();
sql('top', at_top('{"deleted": true}'));
sql('middle', remark('{"fields": {"size": 6}}'));
settle();
is(fields_of_remark($_), '{"by": "Tom", "size": 6, "text": "top"}', "a record that an edit brought back, at the $_") for qw(top middle);

# ---------- references that only the middle knows of ----------

# What comes from the top has been decided there: it waits for no parent here.
sub visit
{
	my ($fields) = @_;
	return sql('top', "SELECT sync_apply(jsonb_build_object('source', 'Office', 'entity', 'visit', 'externalId', 'v', 'base',
		coalesce((SELECT row_version FROM syncext.canonical WHERE entity = 'visit'), 0), 'fields', '$fields'::jsonb))->>'resolution'");
}
sql($_, "SELECT sync_add_entity('visit')") for qw(top middle);
sql('middle', "SELECT sync_add_reference('visit', 'customer', 'customer')");
visit('{"customer": "late", "n": 1}');
settle();
is(sql('middle', "SELECT fields FROM syncext.canonical WHERE entity = 'visit'"), '{"n": 1, "customer": "late"}', 'a child whose parent never came to the top is in the middle');
sql('top', q(SELECT office('late', '{"name": "Lou"}')));
visit('{"n": 2}');
($moved) = settle();
is(sql('middle', "SELECT fields FROM syncext.canonical WHERE entity = 'visit'"), '{"n": 2, "customer": "late"}', 'and what is edited there later comes, too');
is($moved, 2, 'at once');
is(sql('top', 'SELECT count(*) FROM syncext.pending'), 0, 'the top has nothing left for the middle');

# ---------- a key that comes again ----------

# Its row versions go on above those of its first life, which spokes may still know of.
sql('top', qq(SELECT office('again', '{"name": "a$_", "city": "c"}'))) for 1 .. 4;
settle();
agree('a record', "again|a4||c|", "id = 'again'");
sql('top', "DELETE FROM customer WHERE id = 'again'");
settle();
agree('it is deleted', '', "id = 'again'");
my $was = sql('top', "SELECT row_version FROM syncext.canonical WHERE external_id = 'again'");
sql('top', "SELECT sync_forget('customer', 'again')");
sql('leaf', "SET syncext.retention = '0s'; CALL sync_maintain()");
is(sql('leaf', "SELECT count(*) FROM syncext.replica WHERE external_id = 'again' OR gone_at IS NOT NULL"), '0', 'what the leaf kept of deleted keys goes with time');
sql('top', q(SELECT office('again', '{"name": "new"}')));
cmp_ok(sql('top', "SELECT row_version FROM syncext.canonical WHERE external_id = 'again'"), '>', $was, 'forgotten and made again, its row versions go on');
settle();
agree('the key made again', 'again|new|||', "id = 'again'");
is(sql('leaf', "SELECT count(*) FROM syncext.replica"), sql('leaf', 'SELECT count(*) FROM customer'), 'the leaf keeps a row of replica for each of its rows');

# A tombstone that is older than the retention goes by itself, once each target has had
# it.  Office sends, and takes nothing: it is too far behind by then, is to get all
# records anew, and keeps every tombstone until it says that it wants none.
sub maintain
{
	my ($name) = @_;
	return decode_json(sql($name, "SET syncext.retention = '0s'; CALL sync_maintain()"));
}
my $tombstone = "SELECT row_version FROM syncext.canonical WHERE entity = 'customer' AND external_id = 'again'";
sql('top', "DELETE FROM customer WHERE id = 'again'");
settle();
$was = sql('top', $tombstone);
# the log is emptied at the second call
for my $call (1 .. 2)
{
	settle();
	maintain($_) for qw(leaf middle top);
}
is(sql('top', 'SELECT count(*) FROM syncext.change_log'), '0', 'the log of the top is empty');
is(sql('top', $tombstone), $was, 'a target that takes nothing keeps the tombstone');
like(sql('top', "SET syncext.retention = '0s'; SELECT severity || ': ' || problem || ' ' || hint FROM sync_check() WHERE object = 'source Office'"),
	qr/^warning: is getting all records .* no tombstone is removed meanwhile Let it pull; .* SELECT sync_subscribe\('Office', '\{\}'\)/,
	'which is told, with the call that mends it');
sql('top', "SELECT sync_subscribe('Office', '{}')");
settle();
cmp_ok(maintain('top')->{tombstones}, '>', 0, 'nothing needs the tombstone any more, and it goes, though no log table is emptied then');
is(sql('top', $tombstone), '', 'the top knows nothing of the key');
sql('top', q(SELECT office('again', '{"name": "newer"}')));
cmp_ok(sql('top', $tombstone), '>', $was, 'made again, its row versions go on');
settle();
agree('the key made again after its tombstone', 'again|newer|||', "id = 'again'");

# ---------- a record that the top has erased ----------

sql('middle', q(INSERT INTO customer VALUES ('erased', 'name', 'phone', 'city', 'note')));
settle();
sql('top', q(SELECT sync_forget('customer', 'erased'); SET syncext.inbound = 'on'; DELETE FROM customer WHERE id = 'erased'));
sql('leaf', q(UPDATE customer SET phone = 'another' WHERE id = 'erased'));
settle();
settle() while sql('middle', 'SELECT count(*) FROM syncext.pending') ne '0';
agree('an edit of a record that the top had erased', 'erased|name|another|city|note', "id = 'erased'");

# ---------- at rest ----------

for my $name (qw(top middle leaf))
{
	is(sql($name, "SELECT (SELECT count(*) FROM syncext.pending) + (SELECT count(*) FROM syncext.capture_failure) +
		(SELECT count(*) FROM syncext.waiting) + (SELECT count(*) FROM syncext.conflict_log WHERE status = 'pending')"),
		0, "nothing waits at the $name");
}
is(sql('middle', q(
	SELECT count(*) FROM syncext.canonical c FULL JOIN syncext.agreed a USING (entity, external_id)
	WHERE (CASE WHEN NOT c.deleted THEN jsonb_strip_nulls(c.fields) END) IS DISTINCT FROM jsonb_strip_nulls(a.fields))), 0, 'the middle has agreed with the top on every record');

# ---------- an entity that another hub decides ----------

sql('top', q(SELECT sync_add_entity('gadget'), sync_apply('{"source": "Office", "entity": "gadget", "externalId": "G", "version": 1, "a": "top"}')));
sql('middle', q(
	SELECT sync_add_entity('gadget'), sync_add_source('Side');
	CREATE TABLE gadget (id text PRIMARY KEY, a text);
	INSERT INTO syncext.link (name, server, source, owner, enabled) VALUES ('side', 'hub', 'Side', current_user, false);
	INSERT INTO syncext.link_state (link) VALUES ('side');
	SELECT sync_attach('gadget', 'Side', 'gadget')));
exchange('middle');
is(sql('middle', q(SELECT (SELECT count(*) FROM gadget) + (SELECT count(*) FROM syncext.canonical WHERE entity = 'gadget'))), 0, 'the top writes nothing of what another hub decides');
like(sql('top', q(SELECT error FROM syncext.pending WHERE entity = 'gadget')), qr/entity "gadget" is decided by the hub behind link "side"/, 'and is told why');
sql('middle', q(SELECT sync_detach('gadget'), sync_unlink('side')));
sql('top', q(SELECT sync_redrive('Branch')));
exchange('middle') for 1 .. 2;
is(sql('middle', q(SELECT fields->>'a' FROM syncext.canonical WHERE entity = 'gadget')), 'top', 'once none does, it comes');

# ---------- random edits ----------

sql($_, 'CREATE DATABASE storm') for qw(top middle leaf);
my $chain = Convergence->new(
	[ 'top', $node{top}->connstr('storm'), undef, undef, 'Desk' ],
	[ 'middle', $node{middle}->connstr('storm'), 'top', 'Branch', 'Counter' ],
	[ 'leaf', $node{leaf}->connstr('storm'), 'middle', 'Stall' ]);
$chain->storm($rounds);
$chain->judge;
$chain->quit;

$_->stop for values %node;
done_testing();
