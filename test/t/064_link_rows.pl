# 064_link_rows.pl
#	  Rows over a link: tables that are all key, rows that were lost, columns that are
#	  added, changes that the hub has refused, values that no hub can have, triggers
#	  that answer one another.
#
# Hub and spoke are databases of one server.

use strict;
use warnings;

use JSON::PP qw(decode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('node');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nsyncext.retry_base = 100\nsyncext.retry_max = 1s\n");
$node->start;

sub sql
{
	my ($database, $sql) = @_;
	return $node->safe_psql($database, $sql);
}

sub exchange
{
	return decode_json(sql('spoke', "CALL sync_exchange('up')"));
}

# Exchange and deliver until nothing moves; returns in how many rounds something did.
sub settle
{
	for my $round (0 .. 20)
	{
		my $r = exchange();
		my $n = sql('hub', "SELECT sync_deliver('Desk')");

		return $round if $n + $r->{pushed} + $r->{pulled} == 0;
	}
	return undef;
}

sub record
{
	my ($entity, $id) = @_;
	return sql('hub', "SELECT fields FROM syncext.canonical WHERE entity = '$entity' AND external_id = '$id' AND NOT deleted");
}

# The hub's own API, which ranks best.
sub api
{
	my ($entity, $id, $base, $fields) = @_;
	my $rest = defined $fields ? qq("fields": $fields) : '"deleted": true';

	return sql('hub', qq(SELECT sync_apply('{"entity": "$entity", "externalId": "$id", "source": "API", "base": $base, $rest}')->>'resolution'));
}

# Behind everybody's back
sub unseen
{
	return sql('spoke', "SET syncext.inbound = 'on'; $_[0]");
}

my @entities = qw(item member old stamped doc);
my ($host, $port) = ($node->host, $node->port);

sql('postgres', "CREATE DATABASE $_") for qw(hub spoke);
sql('hub', q(CREATE EXTENSION syncext;
	SELECT sync_add_source('East', 2), sync_add_source('Desk', 3), sync_add_source('API', 1)));
sql('spoke', qq(CREATE EXTENSION syncext; CREATE EXTENSION dblink; SELECT sync_add_source('East');
	CREATE SERVER hub FOREIGN DATA WRAPPER dblink_fdw OPTIONS (host '$host', port '$port', dbname 'hub');
	CREATE USER MAPPING FOR CURRENT_USER SERVER hub;
	BEGIN; SELECT sync_link('up', 'hub', 'East'); UPDATE syncext.link SET enabled = false; COMMIT));
for my $database (qw(hub spoke))
{
	sql($database, "SELECT sync_add_entity('$_')") for @entities;
	sql($database, q(
		CREATE TABLE item (id text PRIMARY KEY, v text, w text);
		CREATE TABLE member (u int, r int, PRIMARY KEY (u, r));
		CREATE TABLE stamped (id text PRIMARY KEY, v text, mod_at timestamptz);
		CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.mod_at = clock_timestamp(); RETURN NEW; END';
		CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION stamp()));
}
sql('spoke', "SELECT sync_attach('$_', 'East', '$_')") for qw(item member stamped);
sql('hub', "SELECT sync_attach('$_', 'Desk', '$_')") for qw(member stamped);

# ---------- tables that are nothing but their key ----------

sql('spoke', 'INSERT INTO member VALUES (1, 2)');
is(exchange()->{pushed}, 1, 'a row that is all key is pushed');
is(record('member', '1|2'), '{}', 'and is a record without fields');
settle();
is(sql('hub', 'SELECT * FROM member'), '1|2', 'which is delivered');
sql('hub', 'INSERT INTO member VALUES (3, 4); DELETE FROM member WHERE u = 1');
settle();
is(sql('spoke', 'SELECT * FROM member'), '3|4', 'and so it is the other way, with a delete');

# ---------- rows that were lost ----------

sql('spoke', "INSERT INTO item VALUES ('1', 'a', NULL), ('2', 'b', 'c'), ('3', 'd', 'e')");
settle();
unseen('DELETE FROM item');
api('item', '1', 1, '{"w": "w1"}');
is(exchange()->{pushed}, 0, 'a row that is missing is no delete');
is(sql('spoke', 'SELECT * FROM item'), '1|a|w1', 'an edit elsewhere brings it back');
is(decode_json(sql('spoke', "CALL sync_load('item', 'hub', true)"))->{delivered}, 2, 'a load would bring back the others');
is(sql('spoke', 'SELECT count(*) FROM item'), 1, 'and has not');
sql('spoke', "UPDATE item SET v = 'mine' WHERE id = '1'");
is(decode_json(sql('spoke', "CALL sync_load('item', 'hub')"))->{waiting}, 1, 'an edit that the hub has not answered is left alone');
is(sql('spoke', 'SELECT * FROM item ORDER BY id'), "1|mine|w1\n2|b|c\n3|d|e", 'by a load that brings back what was lost');
settle();
is(record('item', '1'), '{"v": "mine", "w": "w1"}', 'and arrives');
unseen("DELETE FROM item WHERE id = '2'; UPDATE item SET v = 'drifted' WHERE id = '3'");
sql('hub', "SELECT sync_resync('East')");
is(exchange()->{pulled}, 2, 'sync_resync counts what it wrote');
is(sql('spoke', 'SELECT * FROM item ORDER BY id'), "1|mine|w1\n2|b|c\n3|d|e", 'and wrote what was lost or differed');
sql('spoke', "DELETE FROM item WHERE id = '2'");
api('item', '3', 1, '{"w": "w3"}');
sql('hub', "SELECT sync_resync('East')");
settle();
is(sql('spoke', "SELECT id, w FROM item ORDER BY id"), "1|w1\n3|w3", 'a delete that was captured is one, whatever comes');
is(record('item', '2'), '', 'at the hub, too');

# a load tells all of a row, which is no insert: a delete before the exchange is one
sql('hub', "SELECT sync_add_entity('stock')");
sql('spoke', q(CREATE TABLE stock (id text PRIMARY KEY, n int); INSERT INTO stock VALUES ('1', 1), ('2', 2); SELECT sync_add_entity('stock'); SELECT sync_attach('stock', 'East', 'stock')));
api('stock', '1', 0, '{"n": 1}');
sql('spoke', "CALL sync_load('stock'); DELETE FROM stock WHERE id = '1'; INSERT INTO stock VALUES ('3', 3); DELETE FROM stock WHERE id = '3'");
settle();
is(sql('hub', "SELECT external_id, resolution, detail->'lost' FROM syncext.change_log WHERE entity = 'stock' AND source = 'East' ORDER BY external_id"),
	"1|PRIORITY_WIN|[\"*\"]\n2|NEW_RECORD|", 'a delete of a row that was loaded just now is told of, where it loses, too; a row that came and went is not');

# ---------- columns that are added ----------

api('item', '1', 9, '{"state": "done"}');
settle();
sql('spoke', "ALTER TABLE item ADD state text DEFAULT 'new'");
sql('spoke', "CALL sync_load('item')");
settle();
is(record('item', '1'), '{"v": "mine", "w": "w1", "state": "done"}', 'a column that was added overwrites nothing');
is(record('item', '3'), '{"v": "d", "w": "w3", "state": "new"}', 'and is news where the record has not the field');
is(sql('spoke', 'SELECT id, state FROM item ORDER BY id'), "1|done\n3|new", 'elsewhere it is filled');

# what was agreed on of one that is dropped says nothing of the next one of its name
sql('spoke', "ALTER TABLE item DROP state; ALTER TABLE item ADD state text DEFAULT 'again'");
api('item', '1', 10, '{"w": "w1!"}');
settle();
is(record('item', '1'), '{"v": "mine", "w": "w1!", "state": "done"}', 'a column that was dropped and added again overwrites nothing');
is(sql('spoke', 'SELECT id, state FROM item ORDER BY id'), "1|done\n3|again", 'it is filled by what comes');
sql('spoke', "CALL sync_load('item')");
settle();
is(record('item', '3'), '{"v": "d", "w": "w3", "state": "new"}', 'nor does a load of it');
is(sql('spoke', 'SELECT id, state FROM item ORDER BY id'), "1|done\n3|new", 'which fills the rest');
sql('spoke', "UPDATE item SET state = 'edited' WHERE id = '3'");
settle();
is(record('item', '3'), '{"v": "d", "w": "w3", "state": "edited"}', 'an edit of it is one');
sql('spoke', "UPDATE item SET state = 'new' WHERE id = '3'; ALTER TABLE item ALTER state SET DEFAULT 'new'");
settle();
sql('spoke', "SELECT sync_detach('item'); ALTER TABLE item DROP state; ALTER TABLE item ADD state text DEFAULT 'new'; SELECT sync_attach('item', 'East', 'item')");
sql('spoke', "CALL sync_load('item')");
settle();
is(record('item', '1'), '{"v": "mine", "w": "w1!", "state": "done"}', 'nor does one that comes again while its table is detached');

# ---------- changes that the hub has refused ----------

sql('hub', 'ALTER DATABASE hub SET syncext.max_document = 1');
sql('spoke', 'SELECT 1');
sql('spoke', "INSERT INTO item VALUES ('big', repeat('x', 3000), 'w')");
is(exchange()->{rejected}, 1, 'a row that is too large is refused');
sql('spoke', "UPDATE item SET w = 'w2' WHERE id = 'big'");
exchange();
is(record('item', 'big'), '', 'the next edit does not bring half of it');
is(sql('spoke', "SELECT count(*) FROM syncext.dead_letter WHERE external_id = 'big'"), 1, 'it is a dead letter still');
sql('spoke', "UPDATE item SET v = 'small' WHERE id = 'big'");
settle();
is(record('item', 'big'), '{"v": "small", "w": "w2", "state": "new"}', 'all of it goes when it fits');
sql('hub', 'ALTER DATABASE hub RESET syncext.max_document');
sql('spoke', q(CREATE TABLE old (id text PRIMARY KEY, a text, b text);
	INSERT INTO old VALUES ('1', 'a', 'b'); SELECT sync_attach('old', 'East', 'old');
	UPDATE old SET a = 'A'));
exchange();
is(record('old', '1'), '{"a": "A", "b": "b"}', 'the first word of a row that was never loaded is all of it');

# ---------- values that the hub can't have ----------

sql('spoke', q(CREATE TABLE doc (id text PRIMARY KEY, name text, j json); SELECT sync_attach('doc', 'East', 'doc');
	INSERT INTO doc VALUES ('zero', 'n', '{"a": "\\u0000"}'), ('half', 'n', '["\\ud800"]'), ('large', 'n', '[1e400000]'), ('fine', 'n', '{"a": 1}')));
is(exchange()->{pushed}, 1, 'a row goes over whose neighbours can not');
is(sql('spoke', 'SELECT count(*) FROM doc'), 4, 'the edits stand');
is(record('doc', 'fine'), '{"j": {"a": 1}, "name": "n"}', 'the hub has what it can have');
is(sql('spoke', 'SELECT external_id, substr(error, 1, 5) FROM syncext.capture_failure ORDER BY external_id'), "half|22P02\nlarge|22003\nzero|22P05",
	'and the others are told of with their errors');
like(sql('spoke', "SELECT string_agg(problem, ' ') FROM sync_check()"), qr/3 captured rows were given up/, 'sync_check tells');
sql('spoke', q(UPDATE doc SET name = 'again' WHERE id = 'zero'; UPDATE doc SET j = '"\\u0000"', name = 'bad' WHERE id = 'fine'));
settle();
is(record('doc', $_), $_ eq 'fine' ? '{"j": {"a": 1}, "name": "n"}' : '', "nothing goes over of $_ while it is so") for qw(zero fine);
api('doc', 'fine', 1, '{"name": "hub"}');
settle();
is(sql('spoke', "SELECT name, j FROM doc WHERE id = 'fine'"), 'bad|"\\u0000"', 'nor does what comes undo an edit that the hub has not got');
sql('spoke', q(UPDATE doc SET j = '[]' WHERE id <> 'half'; DELETE FROM doc WHERE id = 'half'));
settle();
is(record('doc', $_), { zero => '{"j": [], "name": "again"}', large => '{"j": [], "name": "n"}', half => '', fine => '{"j": [], "name": "hub"}' }->{$_}, "all of $_ goes over when it can")
	for qw(zero large half fine);
is(sql('spoke', 'SELECT count(*) FROM syncext.capture_failure'), 0, 'and nothing is told of any more');

# ---------- what is owed of a row, when all that it differs in was added ----------

sql('spoke', "INSERT INTO item VALUES ('owed', 'v', 'w'), ('owed too', 'v', 'w')");
settle();
sql('spoke', q(ALTER TABLE item ADD since text DEFAULT 'now';
	INSERT INTO syncext.capture_failure (relation, external_id, since, tried_at, attempts, next_attempt, error)
		SELECT 'item', id, now(), now(), 0, now(), 'it had not been sent when its link was ended' FROM item WHERE id LIKE 'owed%';
	UPDATE item SET w = 'w2' WHERE id = 'owed too'));
sql('spoke', "SET statement_timeout = '60s'; CALL sync_exchange('up')");
settle();
is(record('item', 'owed'), '{"v": "v", "w": "w", "since": "now", "state": "new"}', 'that is sent, once');
is(record('item', 'owed too'), '{"v": "v", "w": "w2", "since": "now", "state": "new"}', 'beside an edit of the row');
is(sql('spoke', 'SELECT count(*) FROM syncext.capture_failure'), 0, 'and nothing is owed any more');
cmp_ok(sql('spoke', "SELECT count(*) FROM syncext.change_log WHERE entity = 'item' AND external_id = 'owed'"), '<', 10, 'nor noted again and again');

# ---------- the hub has erased the record of a row that is still here ----------

sql('spoke', "INSERT INTO item VALUES ('erased', 'v', 'w')");
settle();
sql('hub', q(SELECT sync_forget('item', 'erased')));
sql('spoke', "UPDATE item SET v = 'v2' WHERE id = 'erased'");
exchange();
exchange() while sql('spoke', 'SELECT count(*) FROM syncext.capture_failure') ne '0';
settle();
is(record('item', 'erased'), '{"v": "v2", "w": "w", "since": "now", "state": "new"}', 'an edit of it makes a record of all that the row has');
is(sql('spoke', "SELECT v, w FROM item WHERE id = 'erased'"), 'v2|w', 'which keeps that');

# Also where the edit doesn't say on what it was made, or waits for a parent
for my $database (qw(hub spoke))
{
	sql($database, q(SELECT sync_add_entity('numbered'), sync_add_entity('timed', '{field,latest}'), sync_add_entity('parent'), sync_add_entity('child');
		SELECT sync_add_reference('child', 'p', 'parent'), sync_add_reference('numbered', 'p', 'parent');
		CREATE TABLE numbered (id text PRIMARY KEY, v text, w text, n int, p text);
		CREATE TABLE timed (id text PRIMARY KEY, v text, w text);
		CREATE TABLE child (id text PRIMARY KEY, v text, w text, p text)));
}
sql('spoke', q(SELECT sync_attach('numbered', 'East', 'numbered', version_column => 'n'), sync_attach('timed', 'East', 'timed'), sync_attach('child', 'East', 'child');
	INSERT INTO numbered VALUES ('e', 'v', 'w', 1);
	INSERT INTO timed VALUES ('e', 'v', 'w');
	INSERT INTO child VALUES ('e', 'v', 'w', NULL), ('never', 'v', 'w', 'P'), ('moved', 'v', 'w', 'P')));
settle();
sql('hub', q(SELECT sync_forget(e, 'e') FROM unnest('{numbered,timed,child}'::text[]) e;
	SELECT sync_forget('child', 'never'), sync_forget('child', 'moved')));
sql('spoke', q(UPDATE numbered SET v = 'v2', n = 2; UPDATE timed SET v = 'v2';
	UPDATE child SET v = 'v2', p = 'Q' WHERE id <> 'never';
	UPDATE child SET v = 'v2' WHERE id = 'never'));
exchange();
exchange() while sql('spoke', 'SELECT count(*) FROM syncext.capture_failure') ne '0';
is(record('numbered', 'e'), '{"v": "v2", "w": "w"}', 'so does an edit that a version of its own has');
is(record('timed', 'e'), '{"v": "v2", "w": "w"}', '... or a time, in a field ladder');
api('parent', 'Q', 0, '{"a": 1}');
api('parent', 'P', 0, '{"a": 1}');
is(record('child', 'e'), '{"p": "Q", "v": "v2", "w": "w"}', '... one that waits for its parent when the record is gone');
is(record('child', 'never'), '{"p": "P", "v": "v2", "w": "w"}', '... and of a row that was erased before its parent had come');
is(record('child', 'moved'), '{"p": "Q", "v": "v2", "w": "w"}', '... and waits for another parent now');
settle();
is(sql('spoke', "SELECT string_agg(concat_ws(' ', id, v, w, p), ', ' ORDER BY id) FROM child"), 'e v2 w Q, moved v2 w Q, never v2 w P', 'the rows stay as they were');
is(sql('hub', 'SELECT count(*) FROM syncext.waiting'), 0, 'and nothing waits for ever');
sql('spoke', "INSERT INTO child VALUES ('slow', 'v', 'w', 'R'); INSERT INTO numbered VALUES ('slow', 'v', 'w', 1, 'R')");
exchange();
sql('spoke', "UPDATE child SET v = 'v2' WHERE id = 'slow'; UPDATE numbered SET v = 'v2', n = 2 WHERE id = 'slow'");
exchange();
is(sql('hub', 'SELECT count(*) FROM syncext.waiting'), 4, 'a row whose first word waits still isn\'t sent whole once more');
api('parent', 'R', 0, '{"a": 1}');
is(record('child', 'slow'), '{"p": "R", "v": "v2", "w": "w"}', 'but is all there when the parent is');
is(record('numbered', 'slow'), '{"p": "R", "v": "v2", "w": "w"}', '... also where a version of its own could overtake it');
settle();

# ---------- triggers on both sides ----------

sql('spoke', "INSERT INTO stamped SELECT n, 'v' FROM generate_series(1, 5) n");
cmp_ok(settle() // 99, '<=', 4, 'triggers that stamp on both sides come to rest');
sql('hub', "UPDATE stamped SET v = 'hub'");
cmp_ok(settle() // 99, '<=', 4, 'the other way, too');
is(sql('spoke', 'SELECT DISTINCT v FROM stamped'), 'hub', 'with what was edited');
like(sql('spoke', "SELECT problem FROM sync_check() WHERE object = 'relation public.stamped'"), qr/its own triggers set mod_at/, 'what differs is told');

$node->stop;
done_testing();
