# Keys.pm
#	  What doc/keys.md says of sources with keys of their own, once more, from the
#	  text alone: the crosswalk, and what is answered to a document.
#
# Every document comes with a version above all before it, unless it is meant to be
# late; so the ladder has nothing to decide but what is stale.

package Keys;

use strict;
use warnings;

# own: {source => {entity => 1}}; parents: {entity => {field => parent entity}}
sub new
{
	my ($class, %of) = @_;
	return bless { own => $of{own}, parents => $of{parents}, key => {}, record => {}, waiting => [], made => 0 }, $class;
}

sub is_own { my ($self, $source, $entity) = @_; return $self->{own}{$source}{$entity} }

# ---------- the crosswalk ----------

# A key: {record, former}
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

# What a field refers to by a key, as an external id; undef and the key where it isn't bound.
sub translate
{
	my ($self, $doc) = @_;
	my %fields = %{ $doc->{fields} // {} };

	for my $field (keys %{ $self->{parents}{ $doc->{entity} } // {} })
	{
		my $parent = $self->{parents}{ $doc->{entity} }{$field};
		next if !defined $fields{$field} || !$self->is_own($doc->{source}, $parent);
		my $key = $self->key_of($doc->{source}, $parent, $fields{$field});
		return (undef, "$doc->{source} $parent $fields{$field}") if !$key;
		$fields{$field} = $key->{record};
	}
	return (\%fields, undef);
}

# Write what was decided; returns the resolution.
sub write_record
{
	my ($self, $doc, $id, $fields) = @_;
	my $record = $self->{record}{ $doc->{entity} }{$id};
	my $lived = $record && !$record->{deleted};

	return 'STALE_SKIP' if $record && $doc->{version} < $record->{version};
	# a birth brings nothing of an earlier life back
	my %before = $record && ($lived || !$doc->{created}) ? %{ $record->{fields} } : ();
	$self->{record}{ $doc->{entity} }{$id} = {
		version => $doc->{version},
		deleted => $doc->{deleted} ? 1 : 0,
		fields => { %before, $doc->{deleted} ? () : %$fields }
	};
	return $record ? 'VERSION_WIN' : 'NEW_RECORD';
}

# The document is of the record; its key's standing follows.
sub apply_to
{
	my ($self, $doc, $id) = @_;
	my ($fields, $awaited) = $doc->{deleted} ? ({}, undef) : $self->translate($doc);
	my $resolution;

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
		$known //= $self->{key}{$source}{$entity}{$key} = { record => 'new ' . ++$self->{made}, former => 0 };
		$id = $known->{record};
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
