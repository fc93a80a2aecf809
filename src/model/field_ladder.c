/*
 * field_ladder.c
 *	  The field ladder: each field is a register of its own, and the record is the same
 *	  for every order of arrival.
 *
 * A change is a small record: its fields, each with the change's stamp, and its life.
 * Deciding it is joining the two, field by field and stamp by stamp, the greater of each;
 * and so is taking over what another hub has made of the changes that it saw.
 * The rules are those of doc/ladder.md, "The field ladder".  Pure, as model/ladder.c is.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "model/field_ladder.h"
#include "model/field_state.h"
#include "model/json.h"

/* How many fields a reason names before it only counts them. */
#define REASON_FIELDS	3

typedef struct Join
{
	const Change *change;
	const Record *record;		/* as it stands, */
	const Record *comes;		/* and what comes to it */
	const LadderRules *rules;
	Decision   *decision;
	Life		before;			/* the record's; all unset if there is none */
	Life		after;
	bool		alive;			/* after it */
	bool		moved;			/* a stamp moved */
	bool		named;			/* or only the name of its source, where two have said the same */
	bool		kept;			/* a field of what comes is what the record has now */
	bool		has_more;		/* the record has something that didn't come */
	bool	   *is_fresh;		/* of each field after it: its value has just changed */
} Join;

/* ---------- stamps ---------- */

static int
compare_stamps(Ladder ladder, const LifeStamp *a, const LifeStamp *b)
{
	return life_stamp_cmp((ladder & RUNG_VERSION) != 0, (ladder & RUNG_LATEST) != 0, a, b);
}

static LifeStamp
stamp_of_field(const RecordField *field)
{
	LifeStamp	stamp = {
		.is_set = true,
		.has_version = true,
		.version = field->stamp.version,
		.has_updated_at = field->stamp.has_updated_at,
		.updated_at = field->stamp.updated_at,
		.source = field->stamp.source
	};

	return stamp;
}

static LifeStamp
stamp_of_change(const Change *change)
{
	LifeStamp	stamp = {
		.is_set = true,
		.version = change->has_version ? change->version : 0,
		.has_updated_at = change->has_updated_at,
		.updated_at = change->updated_at,
		.source = change->source
	};

	return stamp;
}

/* Of two that said the same at one stamp, the greater name, and then the later time. */
static int
compare_sayings(Ladder ladder, const LifeStamp *a, const LifeStamp *b)
{
	int			cmp = compare_stamps(ladder, a, b);

	if (cmp != 0 || !a->is_set)
		return cmp;
	if (a->source != NULL && b->source != NULL)
		cmp = strcmp(a->source, b->source);
	return cmp != 0 ? cmp : life_stamp_cmp(false, true, a, b);
}

static int
compare_texts(const JsonbValue *a, const JsonbValue *b)
{
	return strcmp(JsonbToCString(NULL, &json_of_value(a)->root, 0),
				  JsonbToCString(NULL, &json_of_value(b)->root, 0));
}

/* The order of what was said of a field: the greatest stands. */
static int
compare_keys(const Join *join, const RecordField *a, const RecordField *b)
{
	const LadderRules *rules = join->rules;
	LifeStamp	stamp_a = stamp_of_field(a);
	LifeStamp	stamp_b = stamp_of_field(b);
	int			cmp = compare_stamps(rules->ladder, &stamp_a, &stamp_b);
	bool		same_source = strcmp(a->stamp.source, b->stamp.source) == 0;

	if (cmp == 0 && !same_source && (rules->ladder & RUNG_PRIORITY))
	{
		int64		rank_a = rules->rank(rules->rank_arg, a->stamp.source, a->field.name);
		int64		rank_b = rules->rank(rules->rank_arg, b->stamp.source, b->field.name);

		cmp = rank_a < rank_b ? 1 : rank_a > rank_b ? -1 : 0;
	}
	if (cmp == 0 && !same_source)
		cmp = strcmp(a->stamp.source, b->stamp.source);
	return cmp != 0 ? cmp : compare_texts(&a->field.value, &b->field.value);
}

/* ---------- a change as a record ---------- */

static const LifeStamp *
greater_stamp(Ladder ladder, const LifeStamp *a, const LifeStamp *b)
{
	return compare_sayings(ladder, a, b) >= 0 ? a : b;
}

static void
life_of_change(const Change *change, const LadderRules *rules, Life *life)
{
	LifeStamp	stamp = stamp_of_change(change);
	bool		birth = change_is_birth(change);

	MemSet(life, 0, sizeof(Life));
	if (change->deleted)
		life->died = stamp;
	else
		life->lived = stamp;
	if (birth)
		life->cut = change->known;
	if (birth && rules->deletes == DELETES_WIN)
		life->born = stamp;
	if (change->deleted && rules->deletes == EDITS_WIN)
		life->seen = change->known;
}

static const Record *
record_of_change(const Change *change, const LadderRules *rules)
{
	Record	   *record = palloc0(sizeof(Record));
	Life	   *life = palloc(sizeof(Life));
	LifeStamp	stamp = stamp_of_change(change);

	life_of_change(change, rules, life);
	record->life = life;
	record->nfields = change->fields.n;
	record->fields = palloc(sizeof(RecordField) * Max(change->fields.n, 1));
	for (int i = 0; i < change->fields.n; i++)
	{
		RecordField *field = &record->fields[i];

		field->field = change->fields.field[i];
		field->stamp.version = stamp.version;
		field->stamp.source = field->stamp.set_by = change->source;
		field->stamp.row_version = 0;
		field->stamp.has_updated_at = stamp.has_updated_at;
		field->stamp.updated_at = stamp.updated_at;
	}
	return record;
}

/* ---------- joining lives ---------- */

static void
join_stamp(Join *join, const LifeStamp *before, const LifeStamp *comes, LifeStamp *after)
{
	Ladder		ladder = join->rules->ladder;
	int			cmp = compare_stamps(ladder, comes, before);

	*after = *greater_stamp(ladder, before, comes);
	join->moved |= cmp > 0;
	join->named |= cmp == 0 && compare_sayings(ladder, comes, before) > 0;
	join->has_more |= compare_sayings(ladder, after, comes) > 0;
}

static void
join_lives(Join *join)
{
	const Life *comes = join->comes->life;
	const LadderRules *rules = join->rules;

	join_stamp(join, &join->before.lived, &comes->lived, &join->after.lived);
	join_stamp(join, &join->before.died, &comes->died, &join->after.died);
	join_stamp(join, &join->before.cut, &comes->cut, &join->after.cut);
	join_stamp(join, &join->before.born, &comes->born, &join->after.born);
	join_stamp(join, &join->before.seen, &comes->seen, &join->after.seen);
	/* only births and tombstones name what is cut, and how */
	join->after.cut.source = join->after.born.source = join->after.seen.source = NULL;
	join->alive = life_is_alive(&join->after, rules->deletes, (rules->ladder & RUNG_VERSION) != 0,
								(rules->ladder & RUNG_LATEST) != 0);
}

/* ---------- joining fields ---------- */

/* Was the field there before, for everybody to see? */
static bool
was_visible(const Join *join, const RecordField *mine)
{
	return mine != NULL && join->record->exists && !join->record->deleted;
}

/* Of a birth on a tombstone all that it sets counts as changed; else what differs from before. */
static bool
is_changed(const Join *join, const RecordField *mine, const RecordField *after)
{
	bool		visible = was_visible(join, mine);

	if (!join->alive)
		return false;
	if (after == NULL)
		return visible;
	if (mine == NULL || (join->record->deleted && change_is_birth(join->change)))
		return true;
	return !json_value_equal(&mine->field.value, &after->field.value);
}

/*
 * What the record has of a field after it: of the two the greater, unless the field was
 * cut; then it has none.
 */
static const RecordField *
choose(Join *join, const RecordField *mine, const RecordField *theirs)
{
	int			cmp = mine == NULL ? -1 : theirs == NULL ? 1 : compare_keys(join, mine, theirs);
	const RecordField *winner = cmp < 0 ? theirs : mine;
	LifeStamp	stamp = stamp_of_field(winner);
	bool		gone = compare_stamps(join->rules->ladder, &stamp, &join->after.cut) <= 0 &&
		join->after.cut.is_set;

	join->moved |= gone ? mine != NULL : cmp < 0;
	join->kept |= !gone && theirs != NULL && cmp <= 0;
	join->has_more |= !gone && cmp > 0;
	return gone ? NULL : winner;
}

static void
join_field(Join *join, const RecordField *mine, const RecordField *theirs)
{
	Decision   *d = join->decision;
	Record	   *after = &d->after;
	const RecordField *winner = choose(join, mine, theirs);
	FieldName	name = mine != NULL ? mine->field.name : theirs->field.name;
	bool		differs;

	differs = winner == NULL || theirs == NULL ||
		!json_value_equal(&winner->field.value, &theirs->field.value);
	if (theirs != NULL && winner != theirs && differs)
		field_names_add(&d->lost, name);
	/* a tombstone's field that didn't come with the change is no news of it */
	if ((theirs != NULL && winner == theirs) || was_visible(join, mine))
	{
		if (is_changed(join, mine, winner))
			field_names_add(&d->changed, name);
	}
	if (winner == NULL)
		return;
	join->is_fresh[after->nfields] = winner == theirs &&
		(mine == NULL || !json_value_equal(&mine->field.value, &theirs->field.value));
	after->fields[after->nfields] = *winner;
	if (winner == theirs && mine != NULL)
	{
		after->fields[after->nfields].stamp.row_version = mine->stamp.row_version;
		after->fields[after->nfields].stamp.set_by = mine->stamp.set_by;
		if (!(join->rules->ladder & RUNG_VERSION))
			after->fields[after->nfields].stamp.version = mine->stamp.version;
	}
	after->nfields++;
}

/* Walk both side by side. */
static void
join_fields(Join *join)
{
	const Record *record = join->record;
	const Record *comes = join->comes;
	Decision   *d = join->decision;
	int			room = Max(record->nfields + comes->nfields, 1);
	int			i = 0;
	int			j = 0;

	field_names_init(&d->changed, room);
	field_names_init(&d->lost, comes->nfields);
	join->is_fresh = palloc(sizeof(bool) * room);
	d->after.nfields = 0;
	d->after.fields = palloc(sizeof(RecordField) * room);
	while (i < record->nfields || j < comes->nfields)
	{
		int			cmp = i == record->nfields ? 1 : j == comes->nfields ? -1 :
			field_name_cmp(record->fields[i].field.name, comes->fields[j].field.name);
		const RecordField *mine = cmp <= 0 ? &record->fields[i++] : NULL;
		const RecordField *theirs = cmp >= 0 ? &comes->fields[j++] : NULL;

		join_field(join, mine, theirs);
	}
	field_names_sort(&d->changed);
	field_names_sort(&d->lost);
}

/* ---------- the record after it ---------- */

/* Its own stamp is the greatest of those that it lived and died by. */
static void
take_greatest_stamp(Join *join)
{
	Record	   *after = &join->decision->after;
	Ladder		ladder = join->rules->ladder;
	const LifeStamp *greatest = greater_stamp(ladder, &join->after.lived, &join->after.died);

	if (ladder & RUNG_VERSION)
		after->version = greatest->version;
	after->has_updated_at = greatest->has_updated_at;
	after->updated_at = greatest->updated_at;
	after->last_source = greatest->source;
}

/* Keep the life only where the record's own stamp doesn't say all of it. */
static void
keep_life(Join *join)
{
	Record	   *after = &join->decision->after;
	const Life *life = &join->after;
	const LifeStamp *other = after->deleted ? &life->lived : &life->died;
	Life	   *kept;

	after->life = NULL;
	if (!other->is_set && !life->cut.is_set && !life->born.is_set && !life->seen.is_set)
		return;
	kept = palloc(sizeof(Life));
	*kept = *life;
	/* what a record is counted by is no part of its stamps */
	if (!(join->rules->ladder & RUNG_VERSION))
		kept->lived.version = kept->died.version = 0;
	after->life = kept;
}

static void
stamp_fresh_fields(Join *join)
{
	Record	   *after = &join->decision->after;
	int64		row_version = record_next_row_version(join->record);

	for (int i = 0; i < after->nfields; i++)
	{
		Stamp	   *stamp = &after->fields[i].stamp;

		if (!join->is_fresh[i])
			continue;
		/* of a tombstone, that is when the value will first be seen */
		stamp->row_version = row_version;
		stamp->set_by = stamp->source;
		if (!(join->rules->ladder & RUNG_VERSION))
			stamp->version = after->version;
	}
}

/* Does the change alter what can be seen? */
static bool
is_visible(const Join *join)
{
	return !join->record->exists || join->record->deleted == join->alive ||
		(join->alive && join->decision->changed.n > 0);
}

static void
finish_record(Join *join, bool visible)
{
	const Record *record = join->record;
	Record	   *after = &join->decision->after;

	after->exists = true;
	after->deleted = !join->alive;
	if (visible)
		after->row_version = record_next_row_version(record);
	/* where sources count no versions, the hub does */
	if (!record->exists)
		after->version = 1;
	else if (visible)
		after->version = Min(record->version + 1, CHANGE_MAX_VERSION);
	take_greatest_stamp(join);
	keep_life(join);
	stamp_fresh_fields(join);
}

/* ---------- the answer ---------- */

/* "name, email and 2 more" */
static void
append_names(StringInfo text, const FieldNames *names)
{
	for (int i = 0; i < names->n && i < REASON_FIELDS; i++)
		appendStringInfo(text, "%s%s", i > 0 ? ", " : "", field_name_cstring(names->name[i]));
	if (names->n > REASON_FIELDS)
		appendStringInfo(text, " and %d more", names->n - REASON_FIELDS);
}

static const char *
why_as_it_is(const Join *join)
{
	if (join->alive)
		return join->rules->deletes == DELETES_WIN ? "the record was born later" :
			join->rules->deletes == EDITS_WIN ? "the record was changed later than the delete knew" :
			"the record was changed later";
	return join->rules->deletes == DELETES_WIN ? "the record was deleted, and not born since" :
		join->rules->deletes == EDITS_WIN ? "the record was deleted by one who knew that" :
		"the record was deleted later";
}

static char *
win_reason(const Join *join)
{
	const Decision *d = join->decision;
	StringInfoData text;

	initStringInfo(&text);
	if (join->change->deleted && !join->alive)
		appendStringInfoString(&text, "the delete is the last word");
	else if (join->change->deleted == join->alive)
		appendStringInfo(&text, "it is noted, but %s", why_as_it_is(join));
	else if (d->lost.n == 0)
		appendStringInfoString(&text, "nothing greater was said of its fields");
	else
	{
		appendStringInfoString(&text, "something greater was said of ");
		append_names(&text, &d->lost);
	}
	return text.data;
}

static void
answer_moved(Join *join)
{
	Decision   *d = join->decision;

	d->resolution = RESOLUTION_FIELD_WIN;
	d->reason = win_reason(join);
}

/* Another hub has to hear of it, and what says that nothing has changed isn't logged. */
static void
tell_what_it_lacks(Decision *d, bool visible)
{
	d->audience = visible ? AUDIENCE_ALL : AUDIENCE_ORIGIN;
	if (d->resolution != RESOLUTION_NO_CHANGE)
		return;
	d->resolution = RESOLUTION_FIELD_SKIP;
	d->reason = pstrdup("the record has all of it, and more");
}

static void
answer(Join *join, bool visible)
{
	Decision   *d = join->decision;

	d->status = 200;
	if (!join->record->exists)
	{
		d->resolution = RESOLUTION_NEW_RECORD;
		d->reason = pstrdup("there was no such record");
	}
	else if (join->moved || join->kept)
		answer_moved(join);
	else if (d->lost.n > 0)
	{
		d->resolution = RESOLUTION_FIELD_SKIP;
		d->lost_all = true;
		d->reason = pstrdup("something greater was said of all its fields");
	}
	if (d->resolution == 0 || (d->resolution == RESOLUTION_FIELD_WIN && !join->moved &&
							   d->lost.n == 0))
	{
		d->resolution = RESOLUTION_NO_CHANGE;
		d->reason = pstrdup("the record says all that already");
	}
	d->audience = visible ? (d->lost.n > 0 ? AUDIENCE_ALL : AUDIENCE_OTHERS) :
		d->lost.n > 0 ? AUDIENCE_ORIGIN : AUDIENCE_NONE;
	if (join->change->state != NULL && join->has_more)
		tell_what_it_lacks(d, visible);
}

void
field_ladder_let_stand(const Record *record, bool lost, const char *reason, Decision *decision)
{
	MemSet(decision, 0, sizeof(Decision));
	decision->status = 200;
	decision->resolution = lost ? RESOLUTION_FIELD_SKIP : RESOLUTION_NO_CHANGE;
	decision->lost_all = lost;
	decision->audience = lost ? AUDIENCE_ORIGIN : AUDIENCE_NONE;
	decision->after = *record;
	decision->reason = pstrdup(reason);
}

void
field_ladder_decide(const Change *change, const Record *record, const LadderRules *rules,
					Decision *decision)
{
	Join		join = {
		.change = change,
		.record = record,
		.rules = rules,
		.decision = decision,
	};
	char	   *why = ladder_precondition_fails(change, record);
	bool		visible;

	if (why != NULL)
	{
		field_ladder_let_stand(record, false, why, decision);
		decision->status = 412;
		decision->resolution = RESOLUTION_PRECONDITION_FAILED;
		return;
	}
	if (change->cascade && change->has_base)
	{
		field_ladder_let_stand(record, true, "the record has moved on, and a foreign key did this when another one was delivered",
							   decision);
		return;
	}
	MemSet(decision, 0, sizeof(Decision));
	decision->after = *record;
	join.comes = change->state != NULL ? &change->state->record : record_of_change(change, rules);
	if (record->exists)
		join.before = record_life(record);
	join_lives(&join);
	join_fields(&join);
	visible = is_visible(&join);
	finish_record(&join, visible);
	answer(&join, visible);
	decision->write = visible ? WRITE_WHOLE :
		join.moved || join.named ? WRITE_STAMPS : WRITE_NOTHING;
	if (decision->write == WRITE_NOTHING)
		decision->after = *record;
}

/* ---------- edits of rows ---------- */

static void
raise_stamp(Ladder ladder, const LifeStamp *stamp, LifeStamp *known)
{
	if (!stamp->is_set)
		return;
	if (!known->is_set)
	{
		*known = *stamp;
		return;
	}
	/* part by part: an edit that is above both parts is above the stamp */
	known->version = Max(known->version, stamp->version);
	if (stamp->has_updated_at && (!known->has_updated_at || stamp->updated_at > known->updated_at))
	{
		known->has_updated_at = true;
		known->updated_at = stamp->updated_at;
	}
}

/* Is the edit made on the record as it stands? */
static bool
is_upon(const Change *change, const Record *record)
{
	return record->exists && change->has_base && change->base >= record->row_version;
}

/* What the source knew of the record: what it was delivered, and what it has said itself. */
static LifeStamp
stamp_known(const Change *change, const Record *record, Ladder ladder)
{
	LifeStamp	known = change->known;
	Life		life = record->exists ? record_life(record) : (Life) {0};
	bool		all = is_upon(change, record);

	for (int i = 0; i < record->nfields; i++)
	{
		LifeStamp	stamp = stamp_of_field(&record->fields[i]);

		if (all || strcmp(stamp.source, change->source) == 0)
			raise_stamp(ladder, &stamp, &known);
	}
	if (all || (life.lived.is_set && strcmp(life.lived.source, change->source) == 0))
		raise_stamp(ladder, &life.lived, &known);
	if (all || (life.died.is_set && strcmp(life.died.source, change->source) == 0))
		raise_stamp(ladder, &life.died, &known);
	if (all)
	{
		raise_stamp(ladder, &life.cut, &known);
		raise_stamp(ladder, &life.born, &known);
		raise_stamp(ladder, &life.seen, &known);
	}
	return known;
}

/* Have others set anything since the change's base? */
static bool
has_moved_on(const Change *change, const Record *record)
{
	if (record->deleted)
		return change->base < record->row_version &&
			strcmp(record->last_source, change->source) != 0;
	for (int i = 0; i < record->nfields; i++)
		if (record->fields[i].stamp.row_version > change->base &&
			strcmp(record->fields[i].stamp.set_by, change->source) != 0)
			return true;
	return false;
}

LifeStamp
field_ladder_stamp(const LifeStamp *known, const LifeStamp *own)
{
	LifeStamp	stamp = *own;

	stamp.is_set = stamp.has_version = true;
	stamp.version = Max(own->has_version ? own->version : 0,
						Min((known->is_set ? known->version : 0) + 1, CHANGE_MAX_VERSION));
	if (known->is_set && known->has_updated_at &&
		(!stamp.has_updated_at || stamp.updated_at <= known->updated_at))
	{
		stamp.has_updated_at = true;
		stamp.updated_at = Min(known->updated_at + 1, END_TIMESTAMP - 1);
	}
	return stamp;
}

const Change *
field_ladder_upon(const Change *change, const Record *record, Ladder ladder, bool own_grave,
				  Change *counted)
{
	LifeStamp	known;
	LifeStamp	own = {
		.has_version = change->has_version,
		.version = change->version,
		.has_updated_at = change->has_updated_at,
		.updated_at = change->updated_at
	};
	LifeStamp	stamp;
	bool		revives;

	if (change->state != NULL || (change->origin == ORIGIN_DOCUMENT && !change->has_base))
		return change_as_it_counts(change, counted);
	*counted = *change;
	known = stamp_known(change, record, ladder);
	stamp = field_ladder_stamp(&known, &own);
	counted->has_version = (ladder & RUNG_VERSION) != 0;
	counted->version = stamp.version;
	if (ladder & RUNG_LATEST)
	{
		counted->has_updated_at = stamp.has_updated_at;
		counted->updated_at = stamp.updated_at;
	}
	/* what was made on the tombstone itself brings it back, as it was */
	revives = !change->deleted && record->exists && record->deleted &&
		(own_grave || (is_upon(change, record) && change->origin != ORIGIN_INSERT));
	counted->created = revives || change_is_birth(change);
	counted->verbatim |= revives;
	/* a row that is new has nothing to do with one that was there before it */
	if (revives || (counted->created && !(record->exists && record_life(record).died.is_set)))
		MemSet(&known, 0, sizeof(known));
	counted->known = known;
	counted->known.has_version = (ladder & RUNG_VERSION) != 0;
	counted->known.has_updated_at &= (ladder & RUNG_LATEST) != 0;
	/* what a foreign key did elsewhere is no word on what came since */
	counted->has_base = change->cascade && has_moved_on(change, record);
	counted->origin = ORIGIN_DOCUMENT;
	return change_as_it_counts(counted, counted);
}
