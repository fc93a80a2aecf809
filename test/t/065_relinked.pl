# 065_relinked.pl
#	  A link that is ended and made again: what had not been sent is, to the same hub;
#	  what was known keeps its place in time; and what will not be sent by itself is told.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use LinkPair;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $hub = make_hub('hub', [ 'Shop' ]);
my $shop = make_spoke('shop', $hub, 'Shop');

sub link_again
{
	sql($shop, "BEGIN; SELECT sync_link('up', 'hub', 'Shop'); UPDATE syncext.link SET enabled = false; COMMIT");
}

sub told
{
	return sql($shop, "SELECT string_agg(problem || ' ' || hint, E'\\n') FROM sync_check() WHERE problem ~ 'had not been sent'");
}

sub in_hub
{
	my ($p) = @_;
	return sql($hub, "SELECT coalesce(string_agg(concat_ws('|', external_id, fields->>'name', fields->>'phone'), ' ' ORDER BY external_id), '') FROM syncext.canonical WHERE NOT deleted AND external_id LIKE '$p%'");
}

# ---------- what came beside an answer is news, then as now ----------

# A row that somebody holds is not written, but its edits are sent: so the hub answers an
# edit of one field beside another one's of which the shop hasn't heard.
sub answer_beside
{
	my ($id) = @_;

	sql($shop, "INSERT INTO customer VALUES ('$id', 'Beside', '0')");
	settle($shop);
	sql($hub, "SELECT office('$id', '{\"name\": \"Office\"}')");
	my $holder = Session->new($shop->connstr('shop'));
	$holder->query("UPDATE customer SET phone = '1' WHERE id = '$id'");
	$holder->query("BEGIN; SELECT FROM customer WHERE id = '$id' FOR UPDATE");
	exchange($shop);
	$holder->query('COMMIT');
	$holder->quit;
	is(sql($shop, "SELECT name FROM customer WHERE id = '$id'") . in_hub($id), "Beside$id|Office|1", "$id: an edit is answered beside another one that has not come");
}

answer_beside('A1');
sql($shop, "SELECT sync_unlink('up')");
link_again();
sql($shop, "UPDATE customer SET name = 'Shop' WHERE id = 'A1'");
settle($shop);
is(in_hub('A1'), 'A1|Office|1', 'an edit that was made without that news does not overwrite it');
is(sql($hub, "SELECT count(*) FROM syncext.change_log WHERE external_id = 'A1' AND detail->'lost' IS NOT NULL"), '1', '... but is contested, and the log tells');
ok(exchange_until($shop, q(SELECT name = 'Office' FROM customer WHERE id = 'A1')), '... and the news comes');

answer_beside('A2');
sql($shop, "SELECT sync_unlink('up')");
link_again();
ok(exchange_until($shop, q(SELECT name = 'Office' FROM customer WHERE id = 'A2')), 'and without an edit the news comes');
all_equal('beside', $hub, $shop);

# ---------- two clocks ----------

# what the shop has sent itself is known to it, however early it believes to have heard of it
sql($shop, "INSERT INTO customer VALUES ('C1', 'Clock', '0')");
settle($shop);
sql($hub, q(SELECT office('C1', '{"name": "Office"}')));
sql($shop, "SELECT sync_unlink('up'); UPDATE syncext.unlinked SET heard_at = heard_at - interval '1 min'");
link_again();
settle($shop);
is(in_hub('C1') . sql($shop, "SELECT name FROM customer WHERE id = 'C1'"), 'C1|Office|0Office', 'the news comes');
is(sql($hub, "SELECT count(*) FROM syncext.change_log WHERE external_id = 'C1' AND source = 'Shop'"), '1', '... and nothing is sent again');

# ---------- edits that had not been sent ----------

sql($shop, "INSERT INTO customer SELECT 'B' || n, 'Name ' || n, '0' FROM generate_series(1, 6) n");
settle($shop);
sql($shop, "UPDATE customer SET phone = '1' WHERE id = 'B1'; DELETE FROM customer WHERE id IN ('B2', 'B3', 'B4'); INSERT INTO customer VALUES ('B4', 'Again', '4'), ('Bnew', 'New', '9');
	INSERT INTO customer VALUES ('Bgone', 'Gone', '9'); DELETE FROM customer WHERE id = 'Bgone'");
sql($shop, "BEGIN; UPDATE customer SET phone = '5' WHERE id = 'B5'; SELECT sync_unlink('up'); COMMIT");
like(told(), qr/^7 edits, 3 of them deletes, had not been sent when its link was ended at .* Table syncext.unsent lists them. SELECT sync_link\(…\) to the same hub sends them. Or, to give them up: SELECT sync_discard\('Shop'\)/,
	'edits that had not been sent are told when the link is ended');
sql($hub, q(SELECT office('B3', '{"phone": "office"}')));
# and what is edited while there is no link
sql($shop, "UPDATE customer SET name = 'Later' WHERE id = 'B1'; DELETE FROM customer WHERE id = 'B6'");
link_again();
ok(settle($shop), 'linked again');
is(in_hub('B'), 'B1|Later|1 B3|Name 3|office B4|Again|4 B5|Name 5|5 Bnew|New|9', 'they are sent, deletes too, and decided as any other');
is(sql($hub, "SELECT count(*) FROM syncext.change_log WHERE external_id = 'B3' AND (detail->>'deleted')::boolean AND detail->'lost' IS NOT NULL"), '1', '... one that lost against an edit is in the log');
ok(exchange_until($shop, q(SELECT count(*) = 1 FROM customer WHERE id = 'B3')), '... and the row comes back');
all_equal('unsent', $hub, $shop);
is(sql($shop, 'SELECT (SELECT count(*) FROM syncext.unsent) + (SELECT count(*) FROM syncext.capture_failure)') . told(), '0', '... and nothing is owed any more');

# ---------- of a table that was detached, or is gone ----------

sql($shop, "UPDATE customer SET phone = 'detached' WHERE id = 'B1'; DELETE FROM customer WHERE id = 'B4'; SELECT sync_detach('customer'); SELECT sync_unlink('up')");
link_again();
like(told(), qr/^2 edits, 1 of them deletes, .* They are sent when their table is attached again/, 'those of a table that is detached wait for it');
sql($shop, "SELECT sync_attach('customer', 'Shop', 'customer')");
settle($shop);
is(in_hub('B') . told(), 'B1|Later|detached B3|Name 3|office B5|Name 5|5 Bnew|New|9', '... and are sent then');
sql($shop, "UPDATE customer SET phone = 'other' WHERE id = 'B1'; DELETE FROM customer WHERE id = 'B3'; SELECT sync_unlink('up'); SELECT sync_detach('customer'); ALTER TABLE customer RENAME TO old;
	CREATE TABLE customer (LIKE old INCLUDING ALL)");
# the hub may have written the record after we last heard of it, and it is compared
my $written = sql($hub, "SELECT recorded_at - interval '1 ms' FROM syncext.change_log WHERE external_id = 'B1' ORDER BY seq DESC LIMIT 1");
sql($shop, "UPDATE syncext.unlinked SET heard_at = '$written'");
link_again();
sql($shop, "SELECT sync_attach('customer', 'Shop', 'customer')");
settle($shop);
is(in_hub('B'), 'B1|Later|detached B5|Name 5|5 Bnew|New|9', 'another table in its place: what was deleted is, what was edited and is not there is not deleted');
like(told(), qr/^1 edits, 0 of them deletes, /, '... and is told');
is(sql($shop, "SELECT sync_discard('Shop', 'customer', 'B1')") . told(), '1', '... until it is given up');
is(sql($shop, "SELECT resolution || ' ' || (detail->>'discarded') FROM syncext.change_log WHERE external_id = 'B1' ORDER BY seq DESC LIMIT 1"), 'DISMISSED edit', '... which the log tells');
all_equal('another table', $hub, $shop);

# ---------- another hub ----------

my $other = make_hub('other', [ 'Shop' ]);
sql($shop, "UPDATE customer SET phone = 'moved' WHERE id = 'B5'; DELETE FROM customer WHERE id = 'Bnew'; SELECT sync_unlink('up')");
lead_to($shop, $other);
link_again();
settle($shop);
is(sql($other, "SELECT count(*) FROM syncext.canonical"), '0', 'another hub gets none of it unasked');
like(told(), qr/^2 edits, 1 of them deletes, .*and it is linked to another hub now .*CALL sync_load\(…\)/, '... and that is told, with the calls');
sql($shop, "CALL sync_load('customer')");
settle($shop);
is(sql($other, "SELECT fields->>'phone' FROM syncext.canonical WHERE external_id = 'B5'"), 'moved', 'the load brings the rows there as they are');
is(sql($shop, "SELECT sync_discard('Shop')") . told(), '2', '... and the rest can be given up');
sql($shop, "INSERT INTO customer VALUES ('F1', 'Forgotten', '0'); SELECT sync_unlink('up')");
is(sql($shop, "SELECT sync_forget('customer', 'F1')->>'unsent'") . told(), '1', 'sync_forget erases what is noted of a row');

$_->stop for $hub, $shop, $other;
done_testing();
