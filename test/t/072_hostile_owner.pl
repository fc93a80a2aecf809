# 072_hostile_owner.pl
#	  What the owner of a linked table has in it runs as the owner in the link's
#	  worker, too, which is a superuser's; in an exchange that a user calls; and
#	  in one that is ended in the middle.
#
# sql/hostile_owner.sql has the doors of one session.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "syncext.link_interval = 1s\nmax_worker_processes = 20\nlog_min_messages = info\n");
$node->start;

sub hub { return $node->safe_psql('hub', $_[0]) }
sub spoke { return $node->safe_psql('spoke', $_[0]) }

$node->safe_psql('postgres', 'CREATE DATABASE hub');
$node->safe_psql('postgres', 'CREATE DATABASE spoke');
$node->safe_psql('postgres', 'CREATE ROLE mallory; CREATE ROLE alice IN ROLE mallory');
hub(q(CREATE EXTENSION syncext; SELECT sync_add_entity('item'), sync_add_source('branch'), sync_add_source('web')));
spoke(sprintf(q(
	CREATE EXTENSION syncext;
	CREATE EXTENSION postgres_fdw;
	CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname 'hub');
	CREATE USER MAPPING FOR CURRENT_USER SERVER hub;
	SELECT sync_add_entity('item'), sync_add_source('branch', role => 'mallory');
	CREATE SCHEMA mallory AUTHORIZATION mallory;
), $node->host, $node->port));
spoke(q(
	SET ROLE mallory;
	SET search_path = mallory;
	CREATE TABLE seen (what text, who text, whose text);
	GRANT ALL ON seen TO PUBLIC;
	CREATE FUNCTION note(what text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO mallory.seen VALUES (what, current_user, session_user);
		RETURN true;
	END $$;
	CREATE FUNCTION try(command text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE command;
		PERFORM mallory.note(command);
	EXCEPTION WHEN OTHERS THEN
		NULL;
	END $$;
	CREATE FUNCTION strike() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM mallory.note(TG_NAME);
		PERFORM mallory.try('RESET ROLE'), mallory.try('SET ROLE NONE'), mallory.try('SET SESSION AUTHORIZATION DEFAULT'),
			mallory.try('ALTER ROLE mallory SUPERUSER'), mallory.try('DECLARE later CURSOR WITH HOLD FOR SELECT mallory.note(''held'')'),
			mallory.try('CREATE TEMP TABLE pg_class ()'), mallory.try('PREPARE later AS SELECT mallory.note(''prepared'')');
		IF TG_TABLE_NAME = 'item' THEN
			PERFORM mallory.try('SET CONSTRAINTS ALL DEFERRED'), mallory.try('INSERT INTO mallory.late VALUES (1)');
		END IF;
		IF NEW.name = 'slow' THEN
			PERFORM mallory.try('SELECT pg_sleep(600)');
		END IF;
		RETURN NEW;
	END $$;
	CREATE TABLE item (id text PRIMARY KEY, name text);
	CREATE TABLE late (n int, name text);
	CREATE TRIGGER before BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION strike();
	CREATE TRIGGER after AFTER INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION strike();
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION strike();
	RESET search_path;
	SELECT sync_attach('mallory.item', 'branch', 'item');
	RESET ROLE;
	SELECT sync_link('up', 'hub', 'branch');
));

my $n = 0;

# A change at the hub, and what its arrival has run at the spoke.
sub change
{
	my ($name) = @_;
	$n++;
	hub("SELECT sync_apply('{\"entity\": \"item\", \"externalId\": \"$n\", \"source\": \"web\", \"version\": 1, \"name\": \"$name\"}')");
}

sub none_but_mallory
{
	my ($how) = @_;
	my $seen = spoke(q(SELECT string_agg(DISTINCT what, ', ' ORDER BY what) FILTER (WHERE what IN ('before', 'after')), count(*) FILTER (WHERE who <> 'mallory') FROM mallory.seen));

	is($seen, 'after, before|0', "$how: it ran, as its owner");
	is(spoke(q(SELECT count(*) FROM pg_roles WHERE rolname = 'mallory' AND rolsuper)), '0', "$how: who is no superuser");
	spoke('TRUNCATE mallory.seen');
}

change('one');
ok($node->poll_query_until('spoke', "SELECT EXISTS (SELECT FROM mallory.item WHERE id = '$n')"), 'the worker has delivered');
like(spoke('SELECT string_agg(DISTINCT whose, $$,$$) FROM mallory.seen'), qr/^(?!mallory$)/, 'in a session that is not the owner\'s');
none_but_mallory('in the worker');

# ended in the middle, it leaves nothing that runs when the worker goes
change('slow');
ok($node->poll_query_until('spoke', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')"), 'a delivery is under way');
spoke('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = $$PgSleep$$');
hub("SELECT sync_apply('{\"entity\": \"item\", \"externalId\": \"$n\", \"source\": \"web\", \"version\": 2, \"name\": \"quick\"}')");
ok($node->poll_query_until('spoke', "SELECT EXISTS (SELECT FROM mallory.item WHERE id = '$n' AND name = 'quick')"), 'another worker has delivered');
none_but_mallory('after an end in the middle');

# by hand, in sessions that go on
spoke('UPDATE syncext.link SET enabled = false');
ok($node->poll_query_until('spoke', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'syncext link')"), 'the worker rests');
for my $role ('', 'SET ROLE mallory;', 'SET SESSION AUTHORIZATION alice;')
{
	change('by hand');
	my ($rc, $out, $err) = $node->psql('spoke', "$role\nCALL sync_exchange('up');\nRESET ROLE;\nRESET SESSION AUTHORIZATION;\n"
		. 'SELECT (SELECT count(*) FROM pg_cursors), (SELECT count(*) FROM pg_prepared_statements), pg_my_temp_schema(), current_user = session_user');
	if (spoke("SELECT count(*) FROM mallory.item WHERE id = '$n'") eq '0')
	{
		# a link is used by its owner alone, or not at all while it rests
		spoke("UPDATE syncext.link SET enabled = true");
		ok($node->poll_query_until('spoke', "SELECT EXISTS (SELECT FROM mallory.item WHERE id = '$n')"), "$role left to the worker: $err");
		spoke('UPDATE syncext.link SET enabled = false');
	}
	like($out, qr/0\|0\|0\|t$/, "by hand, $role: nothing is left behind");
	none_but_mallory("by hand, $role");
}

$node->stop;
done_testing();
