# 075_own_keys.pl
#	  Sources that name records by keys of their own: random histories of three that send
#	  documents and pull, each with a copy in its own words, and of tables that draw their
#	  keys, here and behind a link, judged by a model of doc/keys.md, with the server killed
#	  now and then, in the middle of exchanges, too.
#	  Stewards merge what may be one, undo that, and split keys off.  Whatever was answered is what the model
#	  says; in the end each source's copy, translated back, is the golden records.
#
# OWN_KEYS_SEED repeats a dice, OWN_KEYS_ROUNDS is how long it is thrown.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../model";
use JSON::PP;
use Keys;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(time usleep);

my $seed = $ENV{OWN_KEYS_SEED} // int(time * 1000) % 1_000_000_000;
my $rounds = $ENV{OWN_KEYS_ROUNDS} || 200;
srand($seed);
diag("OWN_KEYS_SEED=$seed OWN_KEYS_ROUNDS=$rounds");

my %own = (Web => { order => 1 }, map { $_ => { customer => 1, order => 1 } } qw(CRM ERP Shop Branch));
my %rank = (CRM => 1, ERP => 2, Web => 3, Shop => 4, Branch => 5);
my @entities = qw(customer order);
my @sources = qw(CRM ERP Web);			# send documents, and pull
my @tables = qw(Shop Branch);			# have tables attached; Branch has its own database
my $model = Keys->new(own => \%own, spokes => { Branch => 1 }, rank => \%rank, parents => { order => { client => 'customer' } },
	match => { customer => { field => 'email', links => ['ERP'] } });
my $json = JSON::PP->new->canonical;
my ($db, $branch, $node);

# What each source has: {source}{entity}{its key} = fields in its words; rows that it has not
# sent; keys whose rows it has deleted; what it has made of records that it was sent.
my (%copy, %unsent, %deleted, %made, %counter);
my $version = 1;
my $changes = 0;
my %done;
my @events;					# what was said and what was sent, for who asks how a copy came to differ
my %again;					# customers that were merged, and are records of their own again

sub quote { my ($text) = @_; $text =~ s/'/''/g; return "'$text'" }
sub pick { return $_[ rand @_ ] }

sub connect_hub
{
	$db = Session->new($node->connstr('postgres'));
	$branch = Session->new($node->connstr('branch')) if $db->query("SELECT count(*) FROM pg_database WHERE datname = 'branch'");
}

sub db_of { my ($source) = @_; return $source eq 'Branch' ? $branch : $db }

sub kill_server
{
	$done{killed}++;
	push @events, 'killed';
	my @pids = split /\n/, $db->query('SELECT pid FROM pg_stat_activity');

	$node->kill9;
	kill 'KILL', @pids;
	$_->quit for $db, $branch;
	for (1 .. 200)
	{
		if ($node->start(fail_ok => 1))
		{
			connect_hub();
			return;
		}
		# the killed server's memory may be in use for another moment
		$node->stop('fast', fail_ok => 1);
		usleep(100_000);
	}
	die "the server does not start again\n";
}

# ---------- what a source sends ----------

sub fresh_key { my ($source) = @_; return ++$counter{$source} }

sub document
{
	my ($source, $entity, $key, %more) = @_;
	my %doc = (source => $source, entity => $entity, version => ++$version, %more);

	$doc{ $model->is_own($source, $entity) ? 'sourceId' : 'externalId' } = "$key";
	return \%doc;
}

# Send documents in a call that may be lost with the server, before its commit or after it.
sub call
{
	my (@docs) = @_;
	my $crash = rand() < 0.04;
	my $text;

	$_->{changeId} = 'c' . ++$changes for @docs;
	$text = quote($json->encode(\@docs));
	if ($crash)
	{
		$db->query("BEGIN; SELECT sync_apply($text)");
		$db->query('COMMIT') if rand() < 0.5;
		kill_server();
	}
	return @{ $json->decode($db->query("SELECT sync_apply($text)")) };
}

# Send documents, and compare what is answered with what the model says.
sub apply
{
	my (@docs) = @_;
	my @answers = call(@docs);

	push @events, map { 'said: ' . $json->encode($docs[$_]) . ', answered: ' . $json->encode($answers[$_]) } 0 .. $#docs;
	# parents come first in a batch
	for my $i (sort { $docs[$a]{entity} cmp $docs[$b]{entity} || $a <=> $b } 0 .. $#docs)
	{
		my ($doc, $answer) = ($docs[$i], $answers[$i]);
		my $said = $model->apply({%$doc});
		my $want = join ' ', $said->{status}, $said->{resolution}, defined $said->{id} && $said->{id} !~ /^new / ? $said->{id} : ();
		my $got = join ' ', $answer->{status}, $answer->{resolution},
		  $want =~ / .* / || !defined $said->{id} ? $said->{resolution} eq 'KEY_CONFLICT' ? () : $answer->{externalId} // () : ();

		if ($got ne $want)
		{
			fail($json->encode($doc) . " is answered as the model says: $want, not " . $json->encode($answer));
			return;
		}
		$model->learn($doc->{entity}, $said->{id}, $answer->{externalId});
		$done{answered}++;
		$done{linked}++ if $answer->{reason} =~ /by match rule/;
	}
}

sub fields_of_order
{
	my ($source) = @_;
	my @clients = sort keys %{ $copy{$source}{customer} // {} };
	my %fields = (v => $version);

	if (rand() < 0.2 && $model->is_own($source, 'customer'))
	{
		# a customer that comes later
		my $key = fresh_key($source);
		$copy{$source}{customer}{$key} = $unsent{$source}{$key} = { v => $version };
		$fields{client} = "$key";
	}
	elsif (@clients && rand() < 0.9)
	{
		$fields{client} = pick(@clients);
	}
	return \%fields;
}

sub birth
{
	my ($source) = @_;
	my @docs;

	for my $n (1 .. (rand() < 0.3 ? 4 : 1))
	{
		my $entity = pick('customer', 'order');
		my $key = ($model->is_own($source, $entity) ? '' : "$source-") . fresh_key($source);
		my $fields = $entity eq 'order' ? fields_of_order($source) : { v => $version };

		$copy{$source}{$entity}{$key} = $fields;
		unshift @docs, document($source, $entity, $key, fields => $fields);
	}
	add_email($docs[0]) if @docs == 1 && $docs[0]{entity} eq 'customer';
	apply(@docs);
}

my @emails = map { "e$_\@example.org" } 1 .. 12;
sub email { my $email = pick(@emails); return pick($email, uc $email, " $email ") }

# Where the customer turns out to be one that is there, it isn't one that the source has been
# sent, and made, and has not said the key of; nor is it undecided which of two says what.
sub add_email
{
	my ($doc) = @_;
	my @free = grep { !defined $model->current_key($doc->{source}, 'customer', $_) } live_customers();
	my @known = grep { defined } map { $model->record('customer', $_)->{fields}{email} } @free;
	my %fields = (%{ $doc->{fields} }, email => @known && rand() < 0.5 ? pick(@known) : email());
	my $met = $model->meets({ %$doc, fields => \%fields });

	return if rand() < 0.3;
	if (defined $met)
	{
		return if $made{ $doc->{source} }{customer}{$met};
		return if grep { $_ eq $doc->{source} } values %{ $model->record('customer', $met)->{by} };
	}
	# the same hash is the source's row
	%{ $doc->{fields} } = %fields;
}

# A new customer of the ERP's that is one which is there, by its e-mail address; or would be,
# if that were not several's, or the ERP's already.
sub link_birth
{
	my @met = grep { my $r = $model->record('customer', $_); ($model->meets({ source => 'ERP', entity => 'customer', fields => $r->{fields} }) // '') eq $_
		  && !$made{ERP}{customer}{$_} && !grep { $_ eq 'ERP' } values %{ $r->{by} } } live_customers();
	my @not = grep { my $fields = $model->record('customer', $_)->{fields};
		defined $fields->{email} && !defined $model->meets({ source => 'ERP', entity => 'customer', fields => $fields }) } live_customers();
	@met = @not if @not && (!@met || rand() < 0.3);
	return if !@met;
	my $key = fresh_key('ERP');
	my $fields = $copy{ERP}{customer}{$key} = { v => ++$version, email => uc $model->record('customer', pick(@met))->{fields}{email} };

	apply(document('ERP', 'customer', $key, fields => $fields));
}

sub live_customers
{
	return grep { !$model->record('customer', $_)->{deleted} } $model->ids('customer');
}

sub send_late_customers
{
	my ($source) = @_;
	my @keys = sort keys %{ $unsent{$source} // {} };

	apply(map { document($source, 'customer', $_, fields => delete $unsent{$source}{$_}) } @keys) if @keys;
}

# Is it a row of a record that the source has another row of, since a merge?
sub is_duplicate
{
	my ($source, $entity, $key) = @_;
	my $known = $model->is_own($source, $entity) ? $model->key_of($source, $entity, $key) : undef;
	return $known && $known->{merge} && $known->{former};
}

# Nothing would stand for a duplicate's key that a row of the source's own has, once it is unbound.
sub is_referred_to
{
	my ($source, $entity, $key) = @_;
	return $entity eq 'customer' && grep { ($_->{client} // '') eq $key } values %{ $copy{$source}{order} // {} };
}

# A row that the source has, and has sent or said the key of: its entity and key.
sub some_row
{
	my ($source) = @_;
	my $entity = pick('customer', 'order');
	my @keys = grep { $entity ne 'customer' || !$unsent{$source}{$_} } sort keys %{ $copy{$source}{$entity} // {} };

	# nor of a record that is gone, of which a row is left that was a duplicate of it
	@keys = grep { !is_duplicate($source, $entity, $_) || !$model->record($entity, $model->key_of($source, $entity, $_)->{record})->{deleted} } @keys;

	# what is sent under a key that was lost with the server before it was said is a record of its own
	@keys = grep { $model->key_of($source, $entity, $_) } @keys if $model->is_own($source, $entity);

	# what is rare is looked for
	my @duplicates = grep { is_duplicate($source, $entity, $_) } @keys;
	@keys = @duplicates if @duplicates && rand() < 0.3;
	return @keys ? ($entity, pick(@keys)) : ();
}

sub edit
{
	my ($source) = @_;
	my ($entity, $key) = some_row($source) or return;
	my %fields = $entity eq 'customer' && rand() < 0.2 ? (email => email()) : (pick('v', 'w') => ++$version);

	$copy{$source}{$entity}{$key} = { %{ $copy{$source}{$entity}{$key} }, %fields };
	apply(document($source, $entity, $key, fields => \%fields));
}

sub remove
{
	my ($source) = @_;
	my ($entity, $key) = some_row($source) or return;

	return if is_duplicate($source, $entity, $key) && is_referred_to($source, $entity, $key);
	delete $copy{$source}{$entity}{$key};
	$deleted{$source}{$entity}{$key} = 1;
	# a record that comes again is a new row, by another key
	my $made = $made{$source}{$entity} // {};
	delete @$made{ grep { $made->{$_} eq $key } keys %$made };
	apply(document($source, $entity, $key, deleted => JSON::PP::true));
}

# A key whose row is gone: it is made again, or said once more to be deleted.
sub former
{
	my ($source) = @_;
	my $entity = pick('customer', 'order');
	my @keys = sort keys %{ $deleted{$source}{$entity} // {} };
	return if !@keys || !$model->is_own($source, $entity);
	my $key = pick(@keys);
	my $known = $model->key_of($source, $entity, $key);

	if (rand() < 0.4 && !is_referred_to($source, $entity, $key))
	{
		apply(document($source, $entity, $key, deleted => JSON::PP::true));
	}
	elsif (!$known || !defined $model->current_key($source, $entity, $known->{record}))
	{
		delete $deleted{$source}{$entity}{$key};
		# a row that was left would say what the new one lacks
		deliver($_) for @tables;
		return if $known && defined $model->current_key($source, $entity, $known->{record});
		# what it may have been sent meanwhile is that very row
		$made{$source}{$entity}{ $known->{record} } = $key if $known;
		$copy{$source}{$entity}{$key} = { v => ++$version };
		# what was there in its earlier life is not in the new row
		apply(document($source, $entity, $key, created => JSON::PP::true, fields => { v => $version }));
	}
}

# Documents that say too much, come late, or are of nothing.
sub odd
{
	my ($source) = @_;
	my ($entity, $key) = some_row($source) or return;
	return if !$model->is_own($source, $entity);
	my $known = $model->key_of($source, $entity, $key) or return;
	my @others = grep { $model->kept($entity, $_) ne $known->{record} } $model->ids($entity);
	# by whatever name it had
	my @names = ($known->{record}, grep { $_ ne $known->{record} && $model->kept($entity, $_) eq $known->{record} } $model->ids($entity));
	my $kind = int rand 5;

	return if $known->{record} =~ /^new /;
	if ($kind == 0)
	{
		$copy{$source}{$entity}{$key}{w} = ++$version;
		apply(document($source, $entity, $key, externalId => pick(@names), fields => { w => $version }));
	}
	elsif ($kind == 1 && @others)
	{
		apply(document($source, $entity, $key, externalId => pick(@others), fields => { w => -1 }));
	}
	elsif ($kind == 2)
	{
		apply(document($source, $entity, 'no-' . fresh_key($source), deleted => JSON::PP::true));
	}
	elsif ($kind == 3 && $model->record($entity, $known->{record}))
	{
		apply({ %{ document($source, $entity, $key, fields => { v => -1 }) }, version => 0 });
	}
	elsif ($kind == 4 && !$known->{former} && $model->record($entity, $known->{record}))
	{
		my @args = map { quote($_) } $source, $entity, $key;
		is($db->query("SELECT sync_unbind(" . join(', ', @args) . ')'), 't', "$source forgets key $key of $entity");
		$db->query("SELECT sync_bind(" . join(', ', @args, quote($known->{record})) . ')');
		$model->unbind($source, $entity, $key);
		$model->bind($source, $entity, $key, $known->{record});
	}
}

# ---------- what a source is sent ----------

# Take one record into the copy; returns the key to say, if it is a new row.
sub take
{
	my ($source, $r) = @_;
	my ($entity, $id) = @$r{qw(entity external_id)};
	my $own = $model->is_own($source, $entity);
	my $key = $own ? $r->{source_id} : $id;

	if ($r->{deleted})
	{
		# a row that was made before a crash, whose key was never said
		$key //= $made{$source}{$entity}{$id};
		if (defined $key && delete $copy{$source}{$entity}{$key})
		{
			$deleted{$source}{$entity}{$key} = 1;
		}
		delete $made{$source}{$entity}{$id};
		return undef;
	}
	# a batch that comes again after a crash has a row here already
	my $says = defined $key ? undef : ($made{$source}{$entity}{$id} //= fresh_key($source));
	$copy{$source}{$entity}{ $key // $says } = $r->{fields};
	return $says;
}

sub pull
{
	my ($source) = @_;
	my ($batch, @taken, @keys);
	my $rows = $json->decode($db->query("SELECT coalesce(json_agg(p), '[]') FROM sync_pull('$source', " . pick(1, 3, 500) . ") p"));

	return 0 if !@$rows;
	push @events, map { "sent to $source: " . $json->encode($_) } @$rows;
	for my $r (@$rows)
	{
		my $says = take($source, $r);
		push @taken, { entity => $r->{entity}, id => $r->{external_id}, gone => $r->{deleted} ? 1 : 0, says => $says };
		push @keys, { entity => $r->{entity}, externalId => $r->{external_id}, sourceId => "$says" } if defined $says;
	}
	if (rand() < 0.04)
	{
		kill_server();
		return 1;
	}
	$db->query("SELECT sync_ack('$source', $rows->[0]{batch}, keys => " . quote($json->encode(\@keys)) . ')');
	$model->taken($source, @taken);
	return 1;
}

# ---------- tables ----------

my %columns = (customer => [qw(v w email)], order => [qw(v w client)]);

sub relation { my ($source, $entity) = @_; return lc "${source}_$entity" }

# What the source's tables hold is its copy.
sub read_tables
{
	my ($source) = @_;

	for my $entity (@entities)
	{
		my $rows = $json->decode(db_of($source)->query("SELECT coalesce(json_object_agg(t.id, json_strip_nulls(to_json(t))), '{}') FROM " . relation($source, $entity) . ' t'));
		delete $_->{id} for values %$rows;
		$copy{$source}{$entity} = $rows;
	}
}

# A statement that returns a key, and that may be lost with the server before its commit, or
# have been committed.
sub in_table
{
	my ($source, $sql) = @_;

	if (rand() < 0.04)
	{
		my $key = db_of($source)->query("BEGIN; $sql");
		my $commits = rand() < 0.5;
		db_of($source)->query('COMMIT') if $commits;
		kill_server();
		return $key if $commits;
	}
	return db_of($source)->query($sql);
}

# The table has said something, which the hub takes as what it is made on is not older than
# the record; the model is told of it as of a document, when the hub hears of it.
my %said;					# what it has not heard of

sub say_in_table
{
	my ($source, @said) = @_;

	push @{ $said{$source} }, \@said;
	heard($source) if $source ne 'Branch';
}

sub heard
{
	my ($source) = @_;
	said_in_table($source, @$_) for splice @{ $said{$source} // [] };
}

sub said_in_table
{
	my ($source, $entity, $key, %more) = @_;
	my $said = $model->apply(document($source, $entity, $key, %more));
	my @args = map { quote($_) } $source, $entity, $key;
	my $id = db_of($source)->query('SELECT external_id FROM syncext.source_key WHERE (source, entity, source_id) = (' . join(', ', @args) . ')');

	if ($more{deleted} && !$model->key_of($source, $entity, $key))
	{
		is($id, '', "$source: row $key of $entity was a duplicate, and is gone");
		return;
	}
	isnt($id, '', "$source: row $key of $entity is a record") or return;
	is($id, $said->{id}, "$source: row $key of $entity is the record that it was") if $said->{id} !~ /^new /;
	$model->learn($entity, $said->{id}, $id);
}

sub values_of_row
{
	my ($source, $entity) = @_;
	my %row = (v => ++$version);

	if ($entity eq 'order')
	{
		my @clients = sort keys %{ $copy{$source}{customer} };
		$row{client} = pick(@clients) if @clients && rand() < 0.9;
	}
	elsif (rand() < 0.7)
	{
		$row{email} = email();
	}
	return %row;
}

sub table_birth
{
	my ($source) = @_;
	my $entity = pick(@entities);
	read_tables($source);
	my %row = values_of_row($source, $entity);
	my @columns = sort keys %row;
	my $key = in_table($source, 'INSERT INTO ' . relation($source, $entity) . ' (' . join(', ', @columns) . ') VALUES (' . join(', ', map { quote($row{$_}) } @columns) . ') RETURNING id');

	say_in_table($source, $entity, $key, fields => \%row);
}

sub table_row
{
	my ($source) = @_;
	my $entity = pick(@entities);

	deliver($source);
	read_tables($source);
	my @keys = sort keys %{ $copy{$source}{$entity} };
	return @keys ? ($entity, pick(@keys)) : ();
}

# An edit of a duplicate, or of what is to go for it has been merged, knows nothing of what
# the record is now, and would go by rank.
sub table_edit
{
	my ($source) = @_;
	my ($entity, $key) = table_row($source) or return;
	my $known = $model->key_of($source, $entity, $key);
	return if is_duplicate($source, $entity, $key) || $known && $model->kept($entity, $known->{record}) ne $known->{record};
	my %row = values_of_row($source, $entity);
	my $column = pick(sort keys %row);
	my $before = $copy{$source}{$entity}{$key}{$column};

	return if defined $before && $before eq $row{$column};
	in_table($source, 'UPDATE ' . relation($source, $entity) . " SET $column = " . quote($row{$column}) . " WHERE id = $key RETURNING id");
	say_in_table($source, $entity, $key, fields => { $column => $row{$column} });
}

sub table_remove
{
	my ($source) = @_;
	my ($entity, $key) = table_row($source) or return;

	return if is_duplicate($source, $entity, $key) && is_referred_to($source, $entity, $key);
	in_table($source, 'DELETE FROM ' . relation($source, $entity) . " WHERE id = $key RETURNING id");
	say_in_table($source, $entity, $key, deleted => JSON::PP::true);
}

# Exchange over the branch's link until nothing goes either way; what is in the middle of it
# may be killed.
sub exchange
{
	my $any = 0;

	if (rand() < 0.03)
	{
		$branch->send(q(CALL sync_exchange('up')));
		usleep(rand(20_000));
		kill_server();
	}
	for (my ($quiet, $n) = (0, 0); $quiet < 2; $n++)
	{
		my $went = $json->decode($branch->query(q(CALL sync_exchange('up'))));
		my $moved = grep { $went->{$_} } qw(pushed pulled failed rejected);

		$any ||= $moved;
		$quiet = $moved ? 0 : $quiet + 1;
		last if $n > 100;
	}
	return $any;
}

# Was it merged into another one, which the branch hears of when nothing refers to it any more?
sub is_going
{
	my ($source, $entity, $id) = @_;
	return $source eq 'Branch' && $model->kept($entity, $id) ne $id;
}

# All that the hub has for the source's tables; returns whether there was anything.
sub deliver
{
	my ($source) = @_;
	my $any = 0;

	if ($source eq 'Branch')
	{
		$any = exchange();
		heard($source);
	}
	else
	{
		$any = 1 while $db->query("SELECT sync_deliver('$source')") > 0;
	}
	for my $entity (@entities)
	{
		for my $id ($model->ids($entity))
		{
			$model->end_key($source, $entity, $id) if $model->record($entity, $id)->{deleted} && !is_going($source, $entity, $id);
		}
	}
	# the keys that were drawn; a row of a record that was merged for a time may have gone, or not
	my $keys = crosswalk()->{$source};
	if ($source eq 'Branch')
	{
		my $known = $model->{key}{Branch}{customer};
		$known->{$_}{former} = $keys->{customer}{$_} =~ / former$/ ? 1 : 0 for grep { $again{ $known->{$_}{record} } } keys %$known;
		# a row of a record that was merged into one of which there is none is that one's, once it has come
		for my $key (sort keys %$known)
		{
			my $id = $keys->{customer}{$key} // '';
			next if $known->{$key}{record} eq $id || $model->kept('customer', $known->{$key}{record}) ne $id || defined $model->current_key($source, 'customer', $id);
			$known->{$key} = { record => $id };
			$done{'taken over'}++;
		}
	}
	for my $entity (@entities)
	{
		for my $key (grep { $keys->{$entity}{$_} !~ / former$/ } sort keys %{ $keys->{$entity} // {} })
		{
			next if is_going($source, $entity, $keys->{$entity}{$key});
			$model->bind($source, $entity, $key, $keys->{$entity}{$key}) or fail("$source draws key $key of $entity for a record that has none");
		}
	}
	return $any;
}

# ---------- stewards ----------

# Two customers that live, of which each source has said its keys; rather two that may be one.
sub some_pair
{
	my @pairs = map { [ split / / ] } sort { $model->record('customer', (split / /, $a)[0])->{n} <=> $model->record('customer', (split / /, $b)[0])->{n}
		  || $model->record('customer', (split / /, $a)[1])->{n} <=> $model->record('customer', (split / /, $b)[1])->{n} } $model->candidates('customer');
	my @live = live_customers();
	return () if @live < 2;
	my @pair = @pairs && rand() < 0.8 ? @{ pick(@pairs) } : (splice(@live, rand @live, 1), splice(@live, rand @live, 1));

	for my $id (@pair)
	{
		for my $source (grep { $model->is_own($_, 'customer') } @sources)
		{
			return () if $made{$source}{customer}{$id} && !defined $model->current_key($source, 'customer', $id);
		}
	}
	return sort { rand() < 0.5 } @pair;
}

# Others who might be one with the one that goes may be one with the one that stays, whatever
# they share.
sub merge
{
	my ($keep, $drop) = some_pair() or return;
	my $call = "SELECT sync_merge('customer', " . quote($keep) . ', ' . quote($drop) . ')';

	heard('Branch') if deliver('Branch');
	return if grep { $model->record('customer', $_)->{deleted} } $keep, $drop;
	$model->{carried}{$_} = 1 for grep { /\Q$drop\E/ } $model->candidates('customer');
	if (rand() < 0.1)
	{
		$db->query("BEGIN; $call");
		kill_server();
	}
	my $id = $db->query($call);
	$model->merge('customer', $keep, $drop, ++$version);
	$done{merged}++;
	$db->query('CALL sync_maintain()') if rand() < 0.5;
	unmerge($id, $keep, $drop) if rand() < 0.4;
}

# Merged by mistake: some have heard of it, and one may have said more of the one that stayed.
# What is said since by keys that move back is left to sql/unmerge.
sub unmerge
{
	my ($id, $keep, $drop) = @_;
	my @others = grep { defined $model->current_key($_, 'customer', $keep) && !$model->key_of($_, 'customer', $model->current_key($_, 'customer', $keep))->{merge} } qw(CRM ERP);

	pull($_) for grep { rand() < 0.5 } @sources;
	deliver($_) for grep { rand() < 0.5 } @tables;
	if (@others && rand() < 0.5)
	{
		my $source = pick(@others);
		my $key = $model->current_key($source, 'customer', $keep);
		my %fields = (pick('v', 'w') => ++$version);

		$copy{$source}{customer}{$key} = { %{ $copy{$source}{customer}{$key} // {} }, %fields };
		apply(document($source, 'customer', $key, fields => \%fields));
	}
	$db->query("SELECT sync_unmerge($id)");
	$model->unmerge(scalar @{ $model->{merges} }, ++$version);
	$again{$drop} = 1;
	$done{unmerged}++;
}

# One of the sources' keys turns out to be another customer's.
sub split_key
{
	deliver($_) for @tables;
	heard('Branch');
	my @keys = map { my $source = $_; map { [ $source, $_ ] } grep { $model->can_split($source, 'customer', $_) } sort { $a cmp $b } keys %{ $model->{key}{$source}{customer} // {} } } qw(CRM ERP);
	return if !@keys;
	my ($source, $key) = @{ pick(@keys) };
	my $call = 'SELECT sync_split(' . join(', ', map { quote($_) } 'customer', $source, $key) . ')';

	if (rand() < 0.1)
	{
		$db->query("BEGIN; $call");
		kill_server();
	}
	my $went = $json->decode($db->query($call));
	push @events, "split: $source $key, " . $json->encode($went);
	# of the old one it has no row any more
	delete $made{$source}{customer}{ $model->key_of($source, 'customer', $key)->{record} };
	$model->split_key($source, 'customer', $key, $went->{externalId});
	$done{split}++;
}

sub find_distinct
{
	my @rows = split /\n/, $db->query('SELECT candidate, external_id, other_id FROM syncext.candidate ORDER BY candidate');
	return if !@rows;
	my ($candidate, @pair) = split /\|/, pick(@rows);

	$db->query("SELECT sync_match_decide($candidate, 'distinct')");
	$model->decide_distinct(@pair);
}

# What was merged is referred to no more.
sub repoint
{
	for (1 .. 5)
	{
		$db->query('CALL sync_maintain()');
		return if $db->query('SELECT count(*) FROM syncext.repoint') == 0;
	}
	fail('what referred to merged records refers to others');
}

# ---------- judging ----------

sub drain
{
	send_late_customers($_) for @sources;
	my $n = 0;

	deliver('Branch');
	repoint();
	# what waits for a parent that never comes is served to the branch again and again
	for (my $waits = 0; $waits < 3 && $n < 200; $n++)
	{
		my $any = 0;
		$any |= $_ for map({ pull($_) } @sources), deliver('Shop');
		my $moved = deliver('Branch');
		$waits = $any ? 0 : $waits + 1;
		next if $any;
		$db->query("UPDATE syncext.pending SET next_attempt = now() - interval '1 s' WHERE next_attempt IS NOT NULL");
		$any |= $_ for map({ pull($_) } @sources), deliver('Shop');
		$moved |= deliver('Branch');
		return if !$any && !$moved;
		$waits = 0 if $any;
	}
	return if $n < 200;
	fail('the feed comes to an end');
}

sub crosswalk
{
	my %key;
	my @rows = map { @{ $json->decode($_) } } $db->query("SELECT coalesce(json_agg(k), '[]') FROM syncext.source_key k WHERE source <> 'Branch'"),
	  $branch->query("SELECT coalesce(json_agg(k), '[]') FROM syncext.source_key k");
	$key{ $_->{source} }{ $_->{entity} }{ $_->{source_id} } = "$_->{external_id}" . ($_->{duplicate} ? ' former' : '') for @rows;
	return \%key;
}

sub golden
{
	my %record;
	my $rows = $json->decode($db->query("SELECT coalesce(json_agg(c), '[]') FROM syncext.canonical c"));
	for my $r (@$rows)
	{
		delete $r->{fields}{$_} for grep { !defined $r->{fields}{$_} } keys %{ $r->{fields} };
		$record{ $r->{entity} }{ $r->{external_id} } = $r;
	}
	return \%record;
}

# A source's copy in the hub's words; and what cannot be said in its own.
sub translated
{
	my ($source, $keys, $golden) = @_;
	my %rows;

	for my $entity (@entities)
	{
		for my $key (grep { !is_duplicate($source, $entity, $_) } keys %{ $copy{$source}{$entity} // {} })
		{
			my %row = %{ $copy{$source}{$entity}{$key} };
			my %fields = map { ($_ => $row{$_}) } grep { defined $row{$_} } keys %row;
			my $id = $model->is_own($source, $entity) ? $keys->{$source}{$entity}{$key} // "nothing: $key" : $key;

			if ($entity eq 'order' && defined $fields{client} && $model->is_own($source, 'customer'))
			{
				$fields{client} = ($keys->{$source}{customer}{ $fields{client} } // "nothing: $fields{client}") =~ s/ former$//r;
			}
			$rows{"$entity $id"} = $json->encode(\%fields);
		}
	}
	return \%rows;
}

# What the log says of records that differ
sub tell_history
{
	my ($entity, $got, $want) = @_;

	for my $id (grep { $json->encode($got->{$_} // []) ne $json->encode($want->{$_} // []) } sort keys %{ { %$got, %$want } })
	{
		diag("$id is ", $json->encode($got->{$id} // []), ', is to be ', $json->encode($want->{$id} // []), "\n",
			$db->query('SELECT source, resolution, fields, detail FROM syncext.change_log WHERE external_id = ' . quote($id) . ' ORDER BY seq'));
	}
}

# How copies came to differ: all that was said and sent of these records.
sub tell_events
{
	my ($got, $want) = @_;

	for my $record (grep { ($got->{$_} // '') ne ($want->{$_} // '') } sort keys %{ { %$got, %$want } })
	{
		my ($id) = $record =~ /^\w+ (\S+)/;

		diag("$record:\n", map { "$_\n" } grep { $_ eq 'killed' || /"\Q$id\E"/ } @events);
	}
}

sub judge
{
	drain();
	read_tables($_) for @tables;
	$model->end_key('Branch', 'customer', $_) for grep { is_going('Branch', 'customer', $_) } $model->ids('customer');
	my ($keys, $golden) = (crosswalk(), golden());
	my %want = map {
		my $source = $_;
		($source => { map {
			my $entity = $_;
			($entity => { map { ($_ => "$model->{key}{$source}{$entity}{$_}{record}" . ($model->{key}{$source}{$entity}{$_}{former} ? ' former' : '')) } keys %{ $model->{key}{$source}{$entity} } }) } keys %{ $model->{key}{$source} } }) } keys %{ $model->{key} };
	for my $source (@sources, @tables)
	{
		for my $entity (sort keys %{ $own{$source} })
		{
			is_deeply($keys->{$source}{$entity} // {}, $want{$source}{$entity} // {}, "the crosswalk of $source and $entity is the model's");
		}
	}
	for my $entity (@entities)
	{
		my %got = map { ($_ => [ $golden->{$entity}{$_}{deleted} ? 1 : 0, $golden->{$entity}{$_}{fields} ]) } keys %{ $golden->{$entity} // {} };
		# what a tombstone keeps refers by whatever name
		$_->[1]{client} = $model->kept('customer', $_->[1]{client}) for grep { $_->[0] && defined $_->[1]{client} } values %got;
		my %want = map { ($_ => [ @{ $model->{record}{$entity}{$_} }{qw(deleted fields)} ]) } $model->ids($entity);
		is_deeply(\%got, \%want, "the golden records of $entity are the model's") or tell_history($entity, \%got, \%want);
	}
	$db->query('CALL sync_maintain()');
	my %candidate = map { $_ => 1 } $model->candidates('customer');
	is_deeply([ sort grep { $candidate{$_} || !$model->{carried}{$_} } split /\n/, $db->query(q(SELECT least(external_id, other_id) || ' ' || greatest(external_id, other_id) FROM syncext.candidate)) ],
		[ sort keys %candidate ], 'the candidates are the model\'s');
	for my $source (@sources, @tables)
	{
		my $rows = translated($source, $keys, $golden);
		my %expected;
		# of what waits for a parent whose key is never said, for its row is gone, the source has more
		my %waits = map { ("$_->{doc}{entity} $_->{id}" => 1) } grep { $_->{doc}{source} eq $source } @{ $model->{waiting} };
		delete @$rows{ keys %waits };
		for my $entity (@entities)
		{
			for my $id (keys %{ $golden->{$entity} // {} })
			{
				my $r = $golden->{$entity}{$id};
				my $parent = $r->{fields}{client};
				# a parent that the source has no key of, for it was deleted before it came
				my $held = defined $parent && $model->is_own($source, 'customer')
				  && !grep { s/ former$//r eq $parent } values %{ $keys->{$source}{customer} // {} };
				delete $rows->{"$entity $id"} if $held;
				$expected{"$entity $id"} = $json->encode($r->{fields}) if !$r->{deleted} && !$held && !$waits{"$entity $id"};
			}
		}
		is_deeply($rows, \%expected, "the copy of $source, translated back, is the golden records") or tell_events($rows, \%expected);
	}
}

# ---------- the history ----------

$node = PostgreSQL::Test::Cluster->new('hub');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = off\nsyncext.retry_base = 10\nsyncext.retry_max = 20\n");
$node->start;
connect_hub();
$db->query(q(
	CREATE EXTENSION syncext;
	SELECT sync_add_entity('customer'), sync_add_entity('order');
	SELECT sync_add_reference('order', 'client', 'customer')));
$db->query("SELECT sync_add_source('$_', $rank{$_})") for sort keys %rank;
$db->query(q(SELECT sync_add_match('customer', 'email', '{email}', action => 'link', link_sources => '{ERP}')));
for my $source (@sources)
{
	$db->query("SELECT sync_own_keys('$source', '$_')") for sort keys %{ $own{$source} };
}
{
	my ($host, $port) = ($node->host, $node->port);

	$db->query('CREATE DATABASE branch');
	connect_hub();
	$branch->query(qq(
		CREATE EXTENSION syncext;
		CREATE EXTENSION postgres_fdw;
		SELECT sync_add_source('Branch'), sync_add_entity('customer'), sync_add_entity('order'), sync_add_reference('order', 'client', 'customer');
		CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres');
		CREATE USER MAPPING FOR CURRENT_USER SERVER hub;
		BEGIN;
		SELECT sync_link('up', 'hub', 'Branch');
		UPDATE syncext.link SET enabled = false;
		COMMIT));
}
for my $source (@tables)
{
	for my $entity (@entities)
	{
		my $table = relation($source, $entity);
		db_of($source)->query("CREATE TABLE $table (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v bigint, w bigint, " . ($entity eq 'order' ? 'client int' : 'email text') . ')');
		db_of($source)->query("SELECT sync_attach('$table', '$source', '$entity', own_keys => true)");
	}
}

my @acts = ((\&birth) x 4, (\&edit) x 4, (\&remove) x 2, (\&former) x 2, (\&odd) x 4, (\&pull) x 5, \&link_birth, \&send_late_customers);
sub edit_and_send { my ($source) = @_; table_edit($source); deliver($source) }
sub remove_and_send { my ($source) = @_; table_remove($source); deliver($source) }
my @acts_of_stewards = ((\&merge) x 3, (\&split_key) x 2, \&find_distinct);
my @acts_in_tables = (\&table_birth, \&edit_and_send, \&table_birth, \&edit_and_send, \&remove_and_send, \&deliver);
for my $round (1 .. $rounds)
{
	pick(@acts)->(pick(@sources));
	pick(@acts_in_tables)->(pick(@tables)) if rand() < 0.4;
	pick(@acts_of_stewards)->() if rand() < 0.2;
	judge() if $round % 50 == 0;
	last if !Test::More->builder->is_passing;
}
judge() if Test::More->builder->is_passing;
diag('in all: ', join ', ', map { "$_ $done{$_}" } sort keys %done);

# ---------- many at once ----------

# Batches of the same few new keys in several sessions, beside pulls that say keys: each key
# makes one record, whoever comes first, and nobody waits in a circle.
{
	my @sessions = map { Session->new($node->connstr('postgres')) } 1 .. 5;
	my $taker = shift @sessions;
	my (%made_by, %odd);

	for my $round (1 .. 40)
	{
		for my $session (@sessions)
		{
			my $source = pick('CRM', 'ERP');
			my @docs = map { { source => $source, entity => 'customer', version => 1_000_000 + $round, sourceId => 'storm-' . (int rand(6) + int($round / 4) * 6), fields => { v => $round } } } 1 .. 4;
			$session->send('SELECT sync_apply(' . quote($json->encode(\@docs)) . ')');
		}
		$taker->send(q(SELECT sync_ack('Web', batch) FROM sync_pull('Web') LIMIT 1));
		for my $session (@sessions)
		{
			my ($out, $error) = $session->answer;
			$odd{$error}++ if $error ne '';
			for my $answer (@{ $error eq '' ? $json->decode($out) : [] })
			{
				$odd{"$answer->{status} $answer->{resolution}"}++ if $answer->{status} != 200;
				$made_by{"$answer->{lastSource} $answer->{sourceId}"}++ if $answer->{resolution} eq 'NEW_RECORD';
			}
		}
		my ($out, $error) = $taker->answer;
		$odd{$error}++ if $error ne '';
	}
	is_deeply(\%odd, {}, 'nothing fails');
	is_deeply([ grep { $made_by{$_} > 1 } sort keys %made_by ], [], 'no key makes a record twice');
	is($db->query(q(SELECT count(*) FROM syncext.source_key k JOIN syncext.canonical c USING (entity, external_id) WHERE k.source_id ~ '^storm')),
		scalar keys %made_by, 'each key has the record that it made');
	is($db->query(q(SELECT count(*) FROM (SELECT external_id FROM syncext.source_key WHERE source_id ~ '^storm' GROUP BY 1 HAVING count(*) > 1) t)), 0, 'of its own');
	$_->quit for @sessions, $taker;
}

# ---------- a dump ----------

{
	my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
	my $of_crm = q(SELECT count(*) FROM syncext.source_key k, sync_apply(jsonb_build_object('source', 'CRM', 'entity', k.entity, 'sourceId', k.source_id, 'version', 0, 'v', 0)) a
		WHERE k.source = 'CRM' AND a->>'externalId' = k.external_id);
	my $keys = q(SELECT count(*) FROM syncext.source_key WHERE source = 'CRM');

	$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'the hub is dumped');
	$db->query('CREATE DATABASE restored');
	$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'and restored');
	my $restored = Session->new($node->connstr('restored'));
	is($restored->query($of_crm), $restored->query($keys), 'where all keys of CRM name the same records');
	is($restored->query($keys), $db->query($keys), 'which are as many');
	$restored->quit;
}
$_->quit for $db, $branch;
$node->stop;
done_testing();
