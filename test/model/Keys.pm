# Keys.pm
#	  What doc/keys.md says of sources with keys of their own, once more, from the
#	  text alone: the crosswalk, what is answered to a document, which records may be one,
#	  and what becomes of them when they are.
#
# Every document comes with a version above all before it, unless it is meant to be
# late; so the ladder has nothing to decide but what is stale, and what a new record
# that is one that is there says of that.

package Keys;

use strict;
use warnings;

use List::Util qw(any);

# own: {source => {entity => 1}}; parents: {entity => {field => parent entity}};
# rank: {source => rank}; match: {entity => {field, links => [source]}}; spokes: {source => 1},
# whose keys are at the other end of a link, for records go by external ids over it
sub new
{
	my ($class, %of) = @_;
	return bless { %of, key => {}, record => {}, waiting => [], made => 0, distinct => {}, carried => {}, alias => {}, merges => [] }, $class;
}

sub is_own { my ($self, $source, $entity) = @_; return $self->{own}{$source}{$entity} }

# ---------- the crosswalk ----------

# A key: {record, former, merge: the number of the merge that has brought it to the record}
sub key_of { my ($self, $source, $entity, $key) = @_; return $self->{key}{$source}{$entity}{$key} }

sub current_key
{
	my ($self, $source, $entity, $record) = @_;
	my $keys = $self->{key}{$source}{$entity} // {};
	my @current = grep { $keys->{$_}{record} eq $record && !$keys->{$_}{former} } keys %$keys;
	die "$source has several keys of $record: @current\n" if @current > 1;
	return $current[0];
}

# Returns whether the two are bound to one another now.
sub bind
{
	my ($self, $source, $entity, $key, $record) = @_;
	my $known = $self->key_of($source, $entity, $key);
	$record = $self->kept($entity, $record);
	my $current = $self->current_key($source, $entity, $record);

	return 0 if $known && $known->{record} ne $record;
	return 0 if defined $current && $current ne $key;
	$self->{key}{$source}{$entity}{$key} = { record => $record, former => 0 };
	$self->release($source, $entity, $key) if !$known;
	return 1;
}

sub unbind { my ($self, $source, $entity, $key) = @_; return defined delete $self->{key}{$source}{$entity}{$key} }

sub end_key
{
	my ($self, $source, $entity, $record) = @_;
	my $current = $self->current_key($source, $entity, $record);
	$self->{key}{$source}{$entity}{$current}{former} = 1 if defined $current;
}

# ---------- records ----------

sub record { my ($self, $entity, $id) = @_; return $self->{record}{$entity}{$id} }

# All records, in the order in which they were made: who throws dice with them repeats it,
# whatever ids the hub draws.
sub ids
{
	my ($self, $entity) = @_;
	my $records = $self->{record}{$entity} // {};
	return sort { $records->{$a}{n} <=> $records->{$b}{n} } keys %$records;
}

# What a field refers to by a key, as an external id; undef and the key where it isn't bound.
sub translate
{
	my ($self, $doc) = @_;
	my %fields = %{ $doc->{fields} // {} };

	for my $field (keys %{ $self->{parents}{ $doc->{entity} } // {} })
	{
		my $parent = $self->{parents}{ $doc->{entity} }{$field};
		next if !defined $fields{$field};
		if (!$self->is_own($doc->{source}, $parent))
		{
			$fields{$field} = $self->kept($parent, $fields{$field});
			next;
		}
		my $key = $self->key_of($doc->{source}, $parent, $fields{$field});
		return (undef, "$doc->{source} $parent $fields{$field}") if !$key;
		$fields{$field} = $self->kept($parent, $key->{record});
	}
	return (\%fields, undef);
}

# Write what was decided; returns the resolution.
sub write_record
{
	my ($self, $doc, $id, $fields) = @_;
	my $record = $self->{record}{ $doc->{entity} }{$id};
	my $lived = $record && !$record->{deleted};

	my @log = (@{ $record ? $record->{log} : [] }, { source => $doc->{source}, version => $doc->{version}, fields => $doc->{deleted} ? {} : $fields });
	if ($record && $doc->{version} < $record->{version})
	{
		$record->{log} = \@log;
		return 'STALE_SKIP';
	}
	# a birth brings nothing of an earlier life back
	my %before = $record && ($lived || !$doc->{created}) ? %{ $record->{fields} } : ();
	my %said = $doc->{deleted} ? () : %$fields;
	$self->{record}{ $doc->{entity} }{$id} = {
		n => $record ? $record->{n} : ++$self->{records},
		version => $doc->{version},
		deleted => $doc->{deleted} ? 1 : 0,
		fields => { %before, %said },
		# who vouches for each
		by => { $record ? %{ $record->{by} } : (), map { $_ => $doc->{source} } keys %said },
		# who has set it first to what it is
		set => { $record ? %{ $record->{set} } : (), map { $_ => $doc->{source} } grep { !defined $before{$_} || $before{$_} ne $said{$_} } keys %said },
		log => \@log,
		# it has a past of which a split makes more than this tells
		mixed => $record && $record->{mixed} || $doc->{deleted}
	};
	return $record ? 'VERSION_WIN' : 'NEW_RECORD';
}

# A new record is this one: it says what it says as a birth with base 0 does.
sub join_record
{
	my ($self, $doc, $id) = @_;
	my $record = $self->record($doc->{entity}, $id);
	my %said = %{ $doc->{fields} };
	my @news = grep { !defined $record->{fields}{$_} || $record->{fields}{$_} ne $said{$_} } keys %said;
	# what a split has emptied is a null that the hub has set
	my @contested = grep { defined $record->{fields}{$_} || ($record->{set}{$_} // '') eq 'split' } @news;
	my %lost;

	$record->{mixed} = 1;
	return 'NO_CHANGE' if !@news;
	for my $field (@contested)
	{
		my ($own, $other) = map { $self->{rank}{$_} // 1_000 } $doc->{source}, $record->{by}{$field};
		return 'MANUAL' if $own == $other;
		$lost{$field} = 1 if $own > $other;
	}
	# a whole write vouches for what is equal, too
	for my $field (@contested ? grep { !$lost{$_} } @news : keys %said)
	{
		$record->{fields}{$field} = $said{$field};
		$record->{by}{$field} = $record->{set}{$field} = $doc->{source};
	}
	return @contested ? 'PRIORITY_WIN' : 'VERSION_WIN';
}

# ---------- match ----------

sub match_key
{
	my ($self, $entity, $fields) = @_;
	my $rule = $self->{match}{$entity} or return undef;
	my $value = lc($fields->{ $rule->{field} } // '') =~ s/^\s+|\s+$//gr;
	return $value eq '' ? undef : $value;
}

# The records that live and share what these fields say
sub sharing
{
	my ($self, $entity, $fields) = @_;
	my $key = $self->match_key($entity, $fields) // return;
	my $records = $self->{record}{$entity} // {};

	return grep { !$records->{$_}{deleted} && ($self->match_key($entity, $records->{$_}{fields}) // '') eq $key } sort keys %$records;
}

# The record that a new one of a source whose word is enough is
sub meets
{
	my ($self, $doc) = @_;
	return undef if !grep { $_ eq $doc->{source} } @{ ($self->{match}{ $doc->{entity} } // {})->{links} // [] };
	my @met = $self->sharing($doc->{entity}, $doc->{fields} // {});
	return @met == 1 && !defined $self->current_key($doc->{source}, $doc->{entity}, $met[0]) ? $met[0] : undef;
}

# The pairs that a steward has to look at, "one other"
sub candidates
{
	my ($self, $entity) = @_;
	my %pair;

	for my $one (sort keys %{ $self->{record}{$entity} // {} })
	{
		my $record = $self->{record}{$entity}{$one};
		next if $record->{deleted};
		$pair{ join ' ', sort $one, $_ } = 1 for grep { $_ ne $one } $self->sharing($entity, $record->{fields});
	}
	return grep { !$self->{distinct}{$_} } sort keys %pair;
}

sub decide_distinct { my ($self, $one, $other) = @_; $self->{distinct}{ join ' ', sort $one, $other } = 1 }

# ---------- merge ----------

# The record that an external id names by now
sub kept
{
	my ($self, $entity, $id) = @_;
	return $self->{alias}{$entity}{$id} // $id;
}

# What the one that stays lacks is taken over; what both have goes by rank, a tie stays.
sub merge_fields
{
	my ($self, $k, $d) = @_;

	for my $field (grep { defined $d->{fields}{$_} } keys %{ $d->{fields} })
	{
		my $value = $k->{fields}{$field};
		next if defined $value && ($value eq $d->{fields}{$field} || $self->{rank}{ $k->{by}{$field} } <= $self->{rank}{ $d->{by}{$field} });
		$k->{fields}{$field} = $d->{fields}{$field};
		$k->{by}{$field} = $d->{by}{$field};
	}
}

sub copy_of { my ($record) = @_; return { %$record, fields => { %{ $record->{fields} } }, by => { %{ $record->{by} } } } }

sub merge
{
	my ($self, $entity, $keep, $drop, $version) = @_;
	my ($k, $d) = map { $self->record($entity, $_) } $keep, $drop;
	my $merge = { entity => $entity, keep => $keep, drop => $drop, kept => copy_of($k), dropped => copy_of($d), keys => [], children => [], aliases => [] };
	my $n = push @{ $self->{merges} }, $merge;

	$k->{mixed} = $d->{mixed} = 1;
	$self->merge_fields($k, $d);
	$merge->{after} = copy_of($k);
	$k->{version} = $d->{version} = $version;
	$d->{deleted} = 1;
	for my $source (grep { !$self->{spokes}{$_} } sort keys %{ $self->{key} })
	{
		my $keys = $self->{key}{$source}{$entity} // {};
		my $has = defined $self->current_key($source, $entity, $keep);

		for my $key (grep { $keys->{$_}{record} eq $drop } sort keys %$keys)
		{
			push @{ $merge->{keys} }, [ $source, $key, { %{ $keys->{$key} } } ];
			# under a duplicate the source has what it had before the merge that made it one
			my $known = $keys->{$key};
			$keys->{$key} = { record => $keep, former => $known->{former} || $has, merge => $known->{former} && $known->{merge} || $n };
		}
	}
	for my $child (sort keys %{ $self->{parents} })
	{
		for my $field (grep { $self->{parents}{$child}{$_} eq $entity } sort keys %{ $self->{parents}{$child} })
		{
			for my $id (grep { ($self->record($child, $_)->{fields}{$field} // '') eq $drop } $self->ids($child))
			{
				push @{ $merge->{children} }, [ $child, $id, $field ];
				$self->record($child, $id)->{fields}{$field} = $keep;
			}
		}
	}
	my $alias = $self->{alias}{$entity} //= {};
	push @{ $merge->{aliases} }, grep { $alias->{$_} eq $drop } sort keys %$alias;
	$alias->{$_} = $keep for @{ $merge->{aliases} };
	$self->{alias}{$entity}{$drop} = $keep;
	$self->{went}{$entity}{$drop} = $n;
	$self->carry($keep, $drop);
}

# Two again: the one that went is as it was, for nobody has said anything by its names since;
# the one that stayed gives back what it got, but for what was said of it since.
sub unmerge
{
	my ($self, $n, $version) = @_;
	my $merge = $self->{merges}[$n - 1];
	my ($entity, $keep, $drop) = @$merge{qw(entity keep drop)};
	my $k = $self->record($entity, $keep);

	for my $field (keys %{ $k->{fields} })
	{
		my $before = $merge->{kept}{fields}{$field};
		my $got = $merge->{after}{fields}{$field};
		next if !defined $got || $k->{fields}{$field} ne $got || defined $before && $before eq $got;
		if (defined $before)
		{
			$k->{fields}{$field} = $before;
			$k->{by}{$field} = $merge->{kept}{by}{$field};
			next;
		}
		delete $k->{fields}{$field};
	}
	$k->{version} = $version;
	$self->{record}{$entity}{$drop} = { %{ copy_of($merge->{dropped}) }, version => $version, mixed => 1 };
	$self->{key}{ $_->[0] }{$entity}{ $_->[1] } = $_->[2] for @{ $merge->{keys} };
	$self->record($_->[0], $_->[1])->{fields}{ $_->[2] } = $drop for @{ $merge->{children} };
	delete $self->{alias}{$entity}{$drop};
	$self->{alias}{$entity}{$_} = $drop for @{ $merge->{aliases} };
	delete $self->{went}{$entity}{$drop};
	$self->decide_distinct($keep, $drop);
}

# ---------- split ----------

# Can the key's source's part in the record be told from that of others, and have these one?
sub can_split
{
	my ($self, $source, $entity, $key) = @_;
	my $known = $self->key_of($source, $entity, $key);
	my $record = $self->record($entity, $known->{record});

	my $keys = grep { $_->{record} eq $known->{record} } values %{ $self->{key}{$source}{$entity} };

	return 0 if $keys > 1 || $known->{former} || $known->{merge} || !$record || $record->{deleted} || $record->{mixed};
	return any { $record->{by}{$_} ne $source || $record->{set}{$_} ne $source } keys %{ $record->{fields} };
}

# What was last said of each field, by the source or (not) by others: [value, who said it]
sub words_of
{
	my ($record, $is_mine) = @_;
	my %word;

	for my $said (sort { $a->{version} <=> $b->{version} } grep { $is_mine->($_->{source}) } @{ $record->{log} })
	{
		$word{$_} = [ $said->{fields}{$_}, $said->{source} ] for keys %{ $said->{fields} };
	}
	return \%word;
}

# The key's record is one of its own, of what its source has said; in the old one stands what
# others have.
sub split_key
{
	my ($self, $source, $entity, $key, $id) = @_;
	my $was = $self->key_of($source, $entity, $key)->{record};
	my $old = $self->record($entity, $was);
	my $mine = words_of($old, sub { $_[0] eq $source });
	my $others = words_of($old, sub { $_[0] ne $source });
	my %said = ((map { $_ => $old->{fields}{$_} } grep { $old->{by}{$_} eq $source || $old->{set}{$_} eq $source } keys %{ $old->{fields} }),
		map { $_ => $mine->{$_}[0] } keys %$mine);
	my %all = map { $_ => $source } keys %said;

	$self->{record}{$entity}{$id} = { n => ++$self->{records}, version => $old->{version}, deleted => 0, fields => \%said, by => {%all}, set => {%all}, log => [], mixed => 1 };
	for my $field (grep { $old->{by}{$_} eq $source && $old->{set}{$_} eq $source } keys %{ $old->{fields} })
	{
		delete $old->{fields}{$field};
		$old->{by}{$field} = $old->{set}{$field} = 'split';
		next if !$others->{$field};
		($old->{fields}{$field}, $old->{by}{$field}) = @{ $others->{$field} };
		$old->{set}{$field} = $old->{by}{$field};
	}
	$old->{version}++;
	$old->{mixed} = 1;
	$self->{key}{$source}{$entity}{$key} = { record => $id, former => 0 };
	for my $child (sort keys %{ $self->{parents} })
	{
		for my $field (grep { $self->{parents}{$child}{$_} eq $entity } sort keys %{ $self->{parents}{$child} })
		{
			for my $r (grep { !$_->{deleted} && ($_->{fields}{$field} // '') eq $was && $_->{by}{$field} eq $source && $_->{set}{$field} eq $source } values %{ $self->{record}{$child} // {} })
			{
				$r->{fields}{$field} = $id;
			}
		}
	}
	$self->decide_distinct($was, $id);
}

# What was said of the one that goes is said of the one that stays.
sub carry
{
	my ($self, $keep, $drop) = @_;

	for my $of ($self->{distinct}, $self->{carried})
	{
		for my $pair (grep { / \Q$drop\E$|^\Q$drop\E / } keys %$of)
		{
			my ($other) = grep { $_ ne $drop } split / /, $pair;
			delete $of->{$pair};
			$of->{ join ' ', sort $keep, $other } = 1 if $other ne $keep;
		}
	}
}

# What is said under the name that a record had before a merge, but for what it had then
sub news
{
	my ($self, $n, $fields) = @_;
	my $image = $self->{merges}[$n - 1]{dropped}{fields};

	return { map { $_ => $fields->{$_} } grep { !defined $image->{$_} || $image->{$_} ne $fields->{$_} } keys %$fields };
}

# The document is of the record; its key's standing follows.
sub apply_to
{
	my ($self, $doc, $id) = @_;
	my ($fields, $awaited) = $doc->{deleted} ? ({}, undef) : $self->translate($doc);
	my $resolution;

	# a row that is a duplicate of another one, or goes by an id that is an alias
	my $merge = defined $doc->{sourceId} ? $doc->{merge} : $self->{went}{ $doc->{entity} }{ $doc->{externalId} // '' };
	if ($merge && !defined $awaited)
	{
		return 'NO_CHANGE' if $doc->{deleted};
		$fields = $self->news($merge, $fields);
		return 'NO_CHANGE' if !%$fields;
	}
	if (defined $awaited)
	{
		push @{ $self->{waiting} }, { doc => $doc, id => $id, awaited => $awaited };
		return 'DEPENDENCY_WAIT';
	}
	$resolution = $self->write_record($doc, $id, $fields);
	$self->settle($doc, $id);
	return $resolution;
}

sub settle
{
	my ($self, $doc, $id) = @_;
	my $record = $self->record($doc->{entity}, $id);

	return if !$self->is_own($doc->{source}, $doc->{entity}) || !$record;
	if ($doc->{deleted} && $record->{deleted})
	{
		$self->end_key($doc->{source}, $doc->{entity}, $id);
	}
	elsif (defined $doc->{sourceId} && !$record->{deleted} && !defined $self->current_key($doc->{source}, $doc->{entity}, $id))
	{
		$self->{key}{ $doc->{source} }{ $doc->{entity} }{ $doc->{sourceId} } = { record => $id, former => 0 };
	}
}

# What waited for a key that is bound now.
sub release
{
	my ($self, $source, $entity, $key) = @_;
	my @all = splice @{ $self->{waiting} };

	for my $w (@all)
	{
		if ($w->{awaited} ne "$source $entity $key")
		{
			push @{ $self->{waiting} }, $w;
			next;
		}
		my ($fields, $awaited) = $self->translate($w->{doc});
		die "$awaited is still awaited\n" if defined $awaited;
		$self->write_record($w->{doc}, $w->{id}, $fields);
	}
}

# ---------- documents ----------

# Returns {status, resolution, id}; id is the external id, or a name for one that the hub
# makes, which learn() then gives its own.
sub apply
{
	my ($self, $doc) = @_;
	my ($source, $entity, $key) = @$doc{qw(source entity sourceId)};
	my $id = $doc->{externalId};
	my $known = defined $key ? $self->key_of($source, $entity, $key) : undef;
	my $new = 0;

	$id = $self->kept($entity, $id) if defined $id;
	$doc->{merge} = $known->{merge} if $known && $known->{former} && defined $self->current_key($source, $entity, $known->{record});
	if (defined $key && defined $id)
	{
		my $current = $self->current_key($source, $entity, $id);

		return { status => 409, resolution => 'KEY_CONFLICT' }
			if $known ? $known->{record} ne $id : defined $current && !$doc->{deleted};
		$new = !$known;
		$self->{key}{$source}{$entity}{$key} //= { record => $id, former => $doc->{deleted} ? 1 : 0 };
	}
	elsif (defined $key)
	{
		return { status => 200, resolution => 'NO_CHANGE' } if !$known && $doc->{deleted};
		$new = !$known;
		if ($new && defined($id = $self->meets($doc)))
		{
			$self->{key}{$source}{$entity}{$key} = { record => $id, former => 0 };
			my $resolution = $self->join_record($doc, $id);
			$self->release($source, $entity, $key);
			return { status => $resolution eq 'MANUAL' ? 409 : 200, resolution => $resolution, id => $id };
		}
		$known //= $self->{key}{$source}{$entity}{$key} = { record => 'new ' . ++$self->{made}, former => 0 };
		$id = $known->{record};
		if ($self->{spokes}{$source} && $self->kept($entity, $id) ne $id)
		{
			die "$source edits $id, which is another one\n" if !$doc->{deleted};
			$known->{former} = 1;
			return { status => 200, resolution => 'NO_CHANGE', id => $id };
		}
	}
	if ($doc->{deleted} && !$new && defined $key && $known->{former} && $self->record($entity, $id) && !$self->record($entity, $id)->{deleted})
	{
		$self->unbind($source, $entity, $key);
		return { status => 200, resolution => 'NO_CHANGE', id => $id };
	}
	my $resolution = $self->apply_to($doc, $id);
	$self->release($source, $entity, $key) if $new;
	return { status => $resolution eq 'DEPENDENCY_WAIT' ? 409 : 200, resolution => $resolution, id => $id };
}

# The hub has given a record its id.
sub learn
{
	my ($self, $entity, $name, $id) = @_;

	return if !defined $name || $name !~ /^new /;
	$self->{record}{$entity}{$id} = delete $self->{record}{$entity}{$name} if $self->{record}{$entity}{$name};
	for my $keys (map { values %{ $_->{$entity} // {} } } values %{ $self->{key} })
	{
		$keys->{record} = $id if $keys->{record} eq $name;
	}
	for my $w (@{ $self->{waiting} })
	{
		$w->{id} = $id if $w->{doc}{entity} eq $entity && $w->{id} eq $name;
	}
	for my $child (keys %{ $self->{parents} })
	{
		for my $field (grep { $self->{parents}{$child}{$_} eq $entity } keys %{ $self->{parents}{$child} })
		{
			for my $record (values %{ $self->{record}{$child} // {} })
			{
				$record->{fields}{$field} = $id if ($record->{fields}{$field} // '') eq $name;
			}
		}
	}
}

# ---------- pulls ----------

# The target has taken a batch: [{entity, id, gone, key, says}]
sub taken
{
	my ($self, $target, @records) = @_;

	for my $r (@records)
	{
		$self->end_key($target, $r->{entity}, $r->{id}) if $r->{gone} && $self->is_own($target, $r->{entity});
	}
	for my $r (grep { defined $_->{says} } @records)
	{
		$self->bind($target, $r->{entity}, $r->{says}, $r->{id}) or die "$r->{says} cannot be bound\n";
	}
}

1;
