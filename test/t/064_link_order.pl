# 064_link_order.pl
#	  A spoke whose tables have foreign keys: children that move while their parent is
#	  deleted, what a foreign key does to a row whose record has moved on at the hub,
#	  trees with keys against their order, unique values that rows hand on, and
#	  children that arrive after their parent's delete.

use strict;
use warnings;

use JSON::PP qw(decode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'END');
fsync = off
syncext.retry_base = 100
syncext.retry_max = 1s
END
$node->start;
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(hub spoke);

sub sql
{
	my ($name, $sql) = @_;
	return $node->safe_psql($name, $sql);
}

my $tables = q(
	CREATE TABLE customer (id int PRIMARY KEY, name text);
	CREATE TABLE ord (id int PRIMARY KEY, customer int, item text);
	CREATE TABLE node (id int PRIMARY KEY, up int, name text);
	CREATE TABLE place (id int PRIMARY KEY, pos int NOT NULL);
);
my @entities = qw(customer ord node place);

sql('hub', "CREATE EXTENSION syncext; $tables"
	. q(SELECT sync_add_source('Branch', 1), sync_add_source('Desk', 2);)
	. join('', map { "SELECT sync_add_entity('$_'); SELECT sync_attach('$_', 'Desk', '$_');" } @entities));
sql('spoke', "CREATE EXTENSION syncext; CREATE EXTENSION postgres_fdw; $tables" . q(
	ALTER TABLE ord ADD FOREIGN KEY (customer) REFERENCES customer ON DELETE CASCADE;
	ALTER TABLE node ADD FOREIGN KEY (up) REFERENCES node;
	ALTER TABLE place ADD UNIQUE (pos);
	SELECT sync_add_source('Branch');)
	. join('', map { "SELECT sync_add_entity('$_');" } @entities)
	. "CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '" . $node->host . "', port '" . $node->port . "', dbname 'hub');"
	. q(CREATE USER MAPPING FOR CURRENT_USER SERVER hub;
	BEGIN;
	SELECT sync_link('up', 'hub', 'Branch');
	-- exchanges are made by hand here
	UPDATE syncext.link SET enabled = false;
	COMMIT;)
	. join('', map { "SELECT sync_attach('$_', 'Branch', '$_');" } @entities));

sub exchange
{
	my ($batch) = @_;
	return decode_json(sql('spoke', "SET syncext.link_batch = $batch; CALL sync_exchange('up')"));
}

# Exchange and deliver until nothing goes over any more.
sub settle
{
	my ($batch) = @_;
	my $quiet = 0;

	for (1 .. 100)
	{
		my $r = exchange($batch);
		my $n = sql('hub', "SET client_min_messages = error; SELECT sync_deliver('Desk')");

		$n += $r->{$_} for qw(pushed pulled failed rejected);
		$n += sql('hub', "SELECT count(*) FROM syncext.pending WHERE next_attempt IS NOT NULL");
		$quiet = $n == 0 ? $quiet + 1 : 0;
		return if $quiet == 2;
		select(undef, undef, undef, 0.05) if $n > 0;
	}
	fail('everything comes to rest');
}

sub all_alike
{
	my ($what) = @_;

	for my $table (@entities)
	{
		my ($hub, $spoke) = map { sql($_, "SELECT * FROM $table ORDER BY id") } qw(hub spoke);

		is($spoke, $hub, "$what: $table");
	}
	is(sql('hub', 'SELECT count(*) FROM syncext.dead_letter'), 0, "$what: nothing was given up");
}

# ---------- children that move, and cascades ----------

for my $batch (500, 1)
{
	sql('hub', q(DELETE FROM ord; DELETE FROM customer;
		INSERT INTO customer VALUES (1, 'Ann'), (2, 'dup'), (4, 'alone');
		INSERT INTO ord VALUES (10, 1, 'x'), (20, 2, 'y'), (40, 4, 'z')));
	settle(500);
	all_alike("start, batches of $batch");
	# the delete is fed first
	sql('hub', 'DELETE FROM customer WHERE id = 2');
	sql('hub', 'UPDATE ord SET customer = 1 WHERE id = 20');
	settle($batch);
	all_alike("a child moves, batches of $batch");
	is(sql('spoke', 'SELECT customer FROM ord WHERE id = 20'), 1, "it is there, batches of $batch");
	# a record that hasn't moved on goes
	sql('hub', 'DELETE FROM customer WHERE id = 4');
	settle($batch);
	all_alike("a cascade that is an edit, batches of $batch");
	is(sql('hub', 'SELECT count(*) FROM ord WHERE id = 40'), 0, "it is gone, batches of $batch");
}

# the cascade is under way when the record moves on
sql('hub', q(INSERT INTO customer VALUES (5, 'five'); INSERT INTO ord VALUES (50, 5, 'a'), (51, 5, 'b')));
settle(500);
sql('hub', 'DELETE FROM customer WHERE id = 5');
# places the delete, and can't tell of the cascade
sql('hub', q(CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
	CREATE TRIGGER refuse AFTER UPDATE ON syncext.spoke FOR EACH ROW WHEN (NEW.batch IS DISTINCT FROM OLD.batch) EXECUTE FUNCTION refuse()));
$node->psql('spoke', "CALL sync_exchange('up')");
is(sql('spoke', 'SELECT count(*) FROM ord WHERE customer = 5'), 0, 'the spoke has deleted the children');
sql('hub', 'UPDATE ord SET customer = 1 WHERE id = 50');
sql('hub', 'DROP FUNCTION refuse CASCADE');
settle(500);
all_alike('the record moved on while the cascade was under way');
is(sql('spoke', 'SELECT string_agg(id::text, \' \') FROM ord WHERE id IN (50, 51)'), '50', 'one is there, the other gone');

# ON DELETE SET NULL
sql('spoke', q(ALTER TABLE ord DROP CONSTRAINT ord_customer_fkey, ADD FOREIGN KEY (customer) REFERENCES customer ON DELETE SET NULL));
sql('hub', q(INSERT INTO customer VALUES (6, 'six'); INSERT INTO ord VALUES (60, 6, 'a'), (61, 6, 'b')));
settle(500);
sql('hub', 'DELETE FROM customer WHERE id = 6');
sql('hub', 'UPDATE ord SET customer = 1 WHERE id = 60');
settle(1);
all_alike('set null');
is(sql('hub', 'SELECT string_agg(id || \':\' || coalesce(customer::text, \'null\'), \' \' ORDER BY id) FROM ord WHERE id IN (60, 61)'),
	'60:1 61:null', 'one has moved, the other refers to nothing');

# ---------- trees, and unique values that are handed on ----------

sql('hub', q(INSERT INTO node SELECT i, nullif(i + 1, 41), 'level' FROM generate_series(1, 40) i;
	INSERT INTO place SELECT i, i FROM generate_series(1, 60) i));
settle(500);
all_alike('a tree with keys against it');
sql('hub', 'UPDATE place SET pos = pos + 1');
settle(500);
sql('hub', 'UPDATE place SET pos = 93 - pos WHERE id > 30');
sql('hub', 'UPDATE place SET pos = CASE id WHEN 1 THEN (SELECT pos FROM place WHERE id = 2) ELSE (SELECT pos FROM place WHERE id = 1) END WHERE id < 3');
settle(500);
all_alike('values handed on, and round in circles');
sql('spoke', 'DELETE FROM node WHERE up IS NULL OR id < 20 OR id < 40');
settle(500);
all_alike('a tree that goes');

# ---------- children that arrive after their parent's delete ----------

# A house is deleted at the hub before it has heard of the spoke's new room.
for my $on_delete (qw(cascade restrict ignore))
{
	my ($house, $room) = ("house_$on_delete", "room_$on_delete");
	my $made = "CREATE TABLE $house (id int PRIMARY KEY, name text, street text); CREATE TABLE $room (id int PRIMARY KEY, house int, name text);";

	sql('hub', "$made SELECT sync_add_entity('$house'), sync_add_entity('$room'); SELECT sync_add_reference('$room', 'house', '$house', '$on_delete');
		SELECT sync_attach('$house', 'Desk', '$house'), sync_attach('$room', 'Desk', '$room')");
	sql('spoke', "$made ALTER TABLE $room ADD FOREIGN KEY (house) REFERENCES $house; SELECT sync_add_entity('$house'), sync_add_entity('$room');
		SELECT sync_attach('$house', 'Branch', '$house'), sync_attach('$room', 'Branch', '$room')");
	sql('spoke', "INSERT INTO $house VALUES (1, 'old', 'High'), (2, 'new', 'Low')");
	settle(500);
	sql('hub', "DELETE FROM $house WHERE id = 1");
	sql('spoke', "INSERT INTO $room VALUES (10, 1, 'attic'), (20, 2, 'cellar')");
	settle(500);
	my %there = map { $_ => join('/', sql($_, "SELECT string_agg(id || name || street, ' ' ORDER BY id) FROM $house"),
		sql($_, "SELECT string_agg(id || name, ' ' ORDER BY id) FROM $room")) } qw(hub spoke);
	my $dead = sql('hub', "SELECT string_agg(source || ' ' || entity || ' ' || external_id, ',') FROM syncext.dead_letter WHERE entity ~ '_$on_delete\$'");

	if ($on_delete eq 'ignore')
	{
		is($there{hub}, '2newLow/10attic 20cellar', 'ignore: both stay as they are');
		is($there{spoke}, '1oldHigh 2newLow/10attic 20cellar', 'ignore: a table that can not hold that differs');
		is($dead, "Branch $house 1", 'ignore: which is a dead letter');
		like(sql('hub', "SELECT string_agg(problem, ',') FROM sync_check() WHERE object = 'source Branch'"), qr/$house 1, 23503/, 'ignore: that is told');
		next;
	}
	is($there{hub}, $on_delete eq 'cascade' ? '2newLow/20cellar' : '1oldHigh 2newLow/10attic 20cellar',
		$on_delete eq 'cascade' ? 'cascade: the room goes' : 'restrict: the house comes back, with all that it had');
	is($there{spoke}, $there{hub}, "$on_delete: at the spoke, too");
	is($dead, '', "$on_delete: nothing was given up");
}

$node->stop;
done_testing();
