# 078_foreign_keys.pl
#	  Tables of another server, through postgres_fdw, that draw their keys: that server commits
#	  a row before its key is noted here, and whatever happens in between, each record has one
#	  row there.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(usleep);

my $far = PostgreSQL::Test::Cluster->new('far');
$far->init;
$far->start;
my $hub = PostgreSQL::Test::Cluster->new('hub');
$hub->init(allows_streaming => 1);
# what a session asks to be replicated waits for ever
$hub->append_conf('postgresql.conf', "synchronous_commit = local\nsynchronous_standby_names = 'nobody'\nsyncext.retry_base = 100\nsyncext.retry_max = 1s\n");
$hub->start;
plan skip_all => 'postgres_fdw is not installed'
	unless -e $hub->config_data('--pkglibdir') . '/postgres_fdw.so';

sub far_sql { return $far->safe_psql('postgres', $_[0]) }
sub hub_sql { return $hub->safe_psql('postgres', $_[0]) }

sub hub_error
{
	my ($rc, $out, $err) = $hub->psql('postgres', $_[0]);
	return $rc == 0 ? "no error: $out" : $err;
}

# The wrapper sends null for a key that is left out; the far side fills it.
far_sql(q(
	CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
	BEGIN
		NEW.id := coalesce(NEW.id, nextval(TG_TABLE_NAME || '_id_seq'));
		RETURN NEW;
	END $$;
	CREATE TABLE customer (id serial PRIMARY KEY, name text, hub_id text);
	CREATE TABLE bill (id serial PRIMARY KEY, client int REFERENCES customer, amount int, hub_id text);
	CREATE INDEX ON customer (hub_id);
	CREATE INDEX ON bill (hub_id);
	CREATE TRIGGER fill BEFORE INSERT ON customer FOR EACH ROW EXECUTE FUNCTION fill();
	CREATE TRIGGER fill BEFORE INSERT ON bill FOR EACH ROW EXECUTE FUNCTION fill();
	INSERT INTO customer (name) VALUES ('Far away');
	INSERT INTO bill (client, amount) VALUES (1, 10)));
hub_sql(sprintf(q(
	CREATE TABLE written (n int);
	CREATE EXTENSION syncext;
	CREATE EXTENSION postgres_fdw;
	CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER far;
	IMPORT FOREIGN SCHEMA public FROM SERVER far INTO public;
	SELECT sync_add_source('CRM', 1), sync_add_source('Far', 2), sync_add_entity('customer'), sync_add_entity('bill'), sync_add_reference('bill', 'client', 'customer');
	CREATE FUNCTION crm(entity text, id text, fields jsonb, version bigint DEFAULT 1) RETURNS text LANGUAGE sql AS $$
		SELECT sync_apply(jsonb_build_object('source', 'CRM', 'entity', $1, 'externalId', $2, 'version', $4)
			|| CASE WHEN fields IS NULL THEN '{"deleted": true}' ELSE jsonb_build_object('fields', fields) END)->>'resolution' $$;
), $far->host, $far->port));

like(hub_error(q(SELECT sync_attach('customer', 'Far', 'customer', '{id}', capture => 'poll', own_keys => true))),
	qr/its server commits a row before its key is noted here.*external_id_column => 'column'/s, 'without a column for the id it is refused, and the error says why');
hub_sql(q(SELECT sync_attach(e, 'Far', e, '{id}', capture => 'poll', own_keys => true, external_id_column => 'hub_id') FROM unnest('{customer,bill}'::text[]) e));

sub poll
{
	my $result = decode_json(hub_sql("CALL sync_poll('$_[0]', true)"));
	return join(' ', map { "$_=$result->{$_}" } grep { $result->{$_} } qw(new updated merged conflicts waiting deleted failed));
}

sub deliver
{
	my $n = 0;
	while ((my $some = hub_sql(q(SELECT sync_deliver('Far')))) > 0) { $n += $some }
	return $n;
}

sub customers { return far_sql('SELECT name FROM customer ORDER BY name') }

# Each row has its record's id, and its key is noted for that.
sub rows_are_known
{
	my ($what) = @_;

	is(hub_sql(q(SELECT count(*) FROM customer c FULL JOIN (SELECT * FROM syncext.source_key WHERE entity = 'customer' AND NOT duplicate) k
		ON k.source_id = c.id::text AND (c.hub_id IS NULL OR k.external_id = c.hub_id) WHERE c.id IS NULL OR k.source_id IS NULL)), '0', "$what: each row's key is noted");
	is(hub_sql(q(SELECT string_agg(fields->>'name', ' ' ORDER BY fields->>'name') FROM syncext.canonical WHERE entity = 'customer' AND NOT deleted)),
		join(' ', split /\n/, customers()), "$what: each record has one row");
}

# ---------- both ways ----------

is(poll('customer') . ', ' . poll('bill'), 'new=1, new=1', 'what is there is new');
hub_sql(q(SELECT crm('customer', 'C1', '{"name": "Ann"}'), crm('bill', 'B1', '{"client": "C1", "amount": 5}')));
deliver();
is(far_sql('SELECT c.name, b.amount FROM customer c JOIN bill b ON b.client = c.id ORDER BY 1'), "Ann|5\nFar away|10", 'what comes refers to the row that has come, under its key');
is(far_sql(q(SELECT hub_id FROM customer WHERE name = 'Ann')), 'C1', 'and has its id');
is(poll('customer') . poll('bill'), '', 'nothing of it comes back');
far_sql(q(UPDATE customer SET name = 'Anna' WHERE name = 'Ann'; INSERT INTO customer (name) VALUES ('Bob'); INSERT INTO bill (client, amount) SELECT id, 7 FROM customer WHERE name = 'Bob'));
is(poll('customer') . ', ' . poll('bill'), 'new=1 updated=1, new=1', 'edits and births there');
is(hub_sql(q(SELECT fields->>'name' FROM syncext.canonical WHERE external_id = 'C1')), 'Anna', 'are of their records');
is(hub_sql(q(SELECT c.fields->>'name' FROM syncext.canonical b JOIN syncext.canonical c ON c.external_id = b.fields->>'client' WHERE b.fields->>'amount' = '7')), 'Bob', 'and refer to them');
deliver();
rows_are_known('both ways');

# ---------- the far server has committed, and this one has not ----------

# Deliver in a transaction that stops between the two, and die there.
sub die_between
{
	my $holder = Session->new($hub->connstr('postgres'));
	my $dies = Session->new($hub->connstr('postgres'));

	# commits with notifications come one by one, and this one is not replicated
	$holder->query('SET synchronous_commit = on');
	$holder->send('BEGIN; NOTIFY one; INSERT INTO written VALUES (1); COMMIT');
	$hub->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'") or die;
	$dies->query('BEGIN');
	$dies->query(q(SELECT sync_deliver('Far')));
	$dies->query('NOTIFY other');
	$dies->send('COMMIT');
	$hub->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^COMMIT' AND wait_event_type = 'Lock'") or die;
	my @pids = split /\n/, hub_sql('SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');
	$hub->kill9;
	kill 'KILL', @pids;
	$_->quit for $holder, $dies;
	for (1 .. 200)
	{
		return if $hub->start(fail_ok => 1);
		$hub->stop('fast', fail_ok => 1);
		usleep(100_000);
	}
	die "the server does not start again\n";
}

hub_sql(q(SELECT crm('customer', 'C2', '{"name": "Cleo"}')));
die_between();
is(far_sql(q(SELECT count(*) FROM customer WHERE name = 'Cleo')), '1', 'the row is there');
is(hub_sql(q(SELECT count(*) FROM syncext.source_key WHERE external_id = 'C2')), '0', 'and its key was not noted');
deliver();
rows_are_known('delivered again');
is(poll('customer'), '', 'there is nothing new');

# a poll may come first
hub_sql(q(SELECT crm('customer', 'C3', '{"name": "Dora"}')));
die_between();
is(far_sql(q(SELECT count(*) FROM customer WHERE name = 'Dora')), '1', 'the row is there');
is(hub_sql(q(SELECT count(*) FROM syncext.source_key WHERE external_id = 'C3')), '0', 'and its key was not noted');
unlike(poll('customer'), qr/new|updated/, 'for a poll it is no birth');
deliver();
rows_are_known('polled first');

# and the row may have been edited meanwhile
hub_sql(q(SELECT crm('customer', 'C4', '{"name": "Ed"}')));
die_between();
far_sql(q(UPDATE customer SET name = 'Edward' WHERE name = 'Ed'));
poll('customer');
deliver();
rows_are_known('edited meanwhile');
is(hub_sql(q(SELECT count(*) FROM syncext.canonical WHERE entity = 'customer' AND fields->>'name' IN ('Ed', 'Edward'))), '1', 'which is one record still');

# ---------- the far server fails ----------

hub_sql(q(SELECT crm('customer', 'C5', '{"name": "Fay"}')));
$far->stop('immediate');
like(hub_error(q(SELECT sync_deliver('Far'))), qr/could not connect|0\s*$/, 'a server that is away');
$far->start;
for (1 .. 300)
{
	deliver();
	last if far_sql(q(SELECT count(*) FROM customer WHERE name = 'Fay')) eq '1';
	usleep(50_000);
}
rows_are_known('it was away');

# ---------- deletes, and what comes back ----------

far_sql(q(DELETE FROM customer WHERE name = 'Cleo'));
poll('customer');
is(hub_sql(q(SELECT deleted FROM syncext.canonical WHERE external_id = 'C2')), 't', 'a row that is deleted there');
hub_sql(q(SELECT crm('customer', 'C2', '{"name": "Cleo again"}', 100), crm('customer', 'C3', NULL, 100)));
deliver();
rows_are_known('deletes');
is(far_sql(q(SELECT count(*) FROM customer WHERE name ~ 'Cleo|Dora')), '1', 'what comes back is one row');

done_testing();
