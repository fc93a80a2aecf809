# 026_load_writers.pl
#	  Tables are loaded while others write them: some batches have a table for themselves, and
#	  others don't.  What the hub has in the end is the table, and no writer was refused.  The
#	  judge is the table itself.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $writers = 6;
my $rows = 60;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', q(
	CREATE EXTENSION syncext;
	SELECT sync_add_source('A', 1), sync_add_source('B', 2);

	-- what comes in wins; between a row's being read and its record's being held is time for others
	CREATE FUNCTION slow(current jsonb, incoming jsonb, context jsonb) RETURNS jsonb LANGUAGE sql AS
		'SELECT CASE WHEN pg_sleep(0.02) IS NOT NULL THEN incoming END';
	SELECT sync_rule('*', 'n', 'function', '{"function": "public.slow"}');

	-- each of its changes is a transaction
	CREATE PROCEDURE write(item regclass, seed float, rows int, pause float) LANGUAGE plpgsql AS $$
	DECLARE
		k int;
		dice float;
		entity text := item;
	BEGIN
		PERFORM setseed(seed);
		COMMIT;
		FOR i IN 1 .. 12 LOOP
			PERFORM pg_sleep(random() * pause);
			COMMIT;
			k := 1 + random() * (rows - 1);
			dice := random();
			IF dice < 0.5 THEN
				EXECUTE format('UPDATE %s SET n = n + 1 WHERE id = $1', item) USING k;
			ELSIF dice < 0.7 THEN
				EXECUTE format('SELECT FROM %s WHERE id = $1 FOR UPDATE', item) USING k;
				PERFORM pg_sleep(0.005);
				EXECUTE format('UPDATE %s SET n = n + 1 WHERE id = $1', item) USING k;
			ELSIF dice < 0.8 THEN
				EXECUTE format('DELETE FROM %s WHERE id = $1', item) USING k;
			ELSIF dice < 0.9 THEN
				EXECUTE format('INSERT INTO %s VALUES ($1, 7) ON CONFLICT (id) DO UPDATE SET n = 8', item) USING k;
			ELSE
				-- holds a record before it writes the table
				PERFORM sync_apply(jsonb_build_object('entity', entity, 'externalId', k::text, 'source', 'B', 'version', 1, 'fields', jsonb_build_object('b', i)));
				EXECUTE format('UPDATE %s SET n = n + 1 WHERE id = $1', item) USING 1 + k % rows;
			END IF;
			COMMIT;
		END LOOP;
	END $$;
));

my @writers = map { Session->new($node->connstr('postgres')) } 1 .. $writers;
my $loader = Session->new($node->connstr('postgres'));
my ($alone, $locked) = (0, 0);

for my $round (1 .. 4)
{
	my $item = "item$round";

	# of most of the rows the hub has something already
	$node->safe_psql('postgres', qq(
		SELECT sync_add_entity('$item');
		CREATE TABLE $item (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
		INSERT INTO $item SELECT i FROM generate_series(1, $rows) i;
		SELECT sync_attach('$item', 'A', '$item', direction => 'in');
		SELECT count(sync_apply(jsonb_build_object('entity', '$item', 'externalId', i::text, 'source', 'B', 'version', 1,
			'fields', '{"n": -1}'::jsonb))) FROM generate_series(1, $rows) i WHERE i % 5 > 0));
	# in odd rounds somebody is always writing
	my $holder = Session->new($node->connstr('postgres'));
	$holder->query("BEGIN; LOCK TABLE $item IN ROW EXCLUSIVE MODE") if $round % 2;
	$loader->send("CALL sync_load('$item')");
	$writers[$_]->send(sprintf("CALL write('%s', %s, %d, 0.1)", $item, 0.01 * ($round * $writers + $_), $rows)) for 0 .. $#writers;
	my ($answer, $error) = $loader->answer;
	is($error, '', "round $round: the load goes through");
	note($answer);
	is(join('', map { ($_->answer)[1] } @writers), '', "round $round: no writer was refused");
	$holder->query('COMMIT') if $round % 2;
	# a row that was held for too long waits for the next load
	$node->safe_psql('postgres', "CALL sync_load('$item')") if $node->safe_psql('postgres', 'SELECT count(*) FROM syncext.capture_failure') > 0;
	is($node->safe_psql('postgres', qq(
		SELECT string_agg(format('%s: %s, hub %s', id, t.n, r.n), '; ') FROM $item t
		FULL JOIN (SELECT external_id::int AS id, (fields->>'n')::int AS n FROM syncext.canonical
		           WHERE entity = '$item' AND NOT deleted AND fields ? 'n') r USING (id)
		WHERE t.n IS DISTINCT FROM r.n)), '', "round $round: the hub has what the table has");
	note($node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE xmax = 0) AS alone, count(*) FILTER (WHERE xmax <> 0) AS locked FROM $item"));
}
$node->stop;
done_testing();
