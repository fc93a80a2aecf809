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
#include "model/field_stamp.h"
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
	LifeStamp	stamp_a = field_stamp_of(a);
	LifeStamp	stamp_b = field_stamp_of(b);
	int			cmp = field_stamp_cmp(rules->ladder, &stamp_a, &stamp_b);
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

static void
life_of_change(const Change *change, const LadderRules *rules, Life *life)
{
	LifeStamp	stamp = stamp_of_change(change);
	/* what was born, and then merged into this record, cuts nothing of this one */
	bool		birth = change->alias == NULL && change_is_birth(change);

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

/* Of a record that was merged into another one, that and what was said of it is the other's. */
static const Record *
part_of(const Record *record)
{
	Record	   *part = palloc(sizeof(Record));
	Life	   *life = palloc0(sizeof(Life));

	*part = *record;
	life->lived = record_life(record).lived;
	part->life = life;
	return part;
}

static const Record *
what_comes(const Change *change, const LadderRules *rules)
{
	if (change->state == NULL)
		return record_of_change(change, rules);
	return change->alias == NULL ? &change->state->record : part_of(&change->state->record);
}

/* ---------- joining lives ---------- */

static void
join_stamp(Join *join, const LifeStamp *before, const LifeStamp *comes, LifeStamp *after)
{
	Ladder		ladder = join->rules->ladder;
	int			cmp = field_stamp_cmp(ladder, comes, before);

	*after = *field_stamp_greater(ladder, before, comes);
	join->moved |= cmp > 0;
	join->named |= cmp == 0 && field_stamp_cmp_sayings(ladder, comes, before) > 0;
	join->has_more |= field_stamp_cmp_sayings(ladder, after, comes) > 0;
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
	LifeStamp	stamp = field_stamp_of(winner);
	bool		gone = field_stamp_cmp(join->rules->ladder, &stamp, &join->after.cut) <= 0 &&
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
	field_stamp_record(join->rules->ladder, &join->after, after);
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

/* Is it noted that the record lives, though it is gone, or the other way round?  Who said so has it so. */
static bool
is_contradicted(const Join *join)
{
	return join->moved && join->change->deleted == join->alive;
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
		d->lost.n > 0 || is_contradicted(join) ? AUDIENCE_ORIGIN : AUDIENCE_NONE;
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
	join.comes = what_comes(change, rules);
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

/* ---------- two records that are one ---------- */

void
field_ladder_merge(const Record *keep, const Record *drop, const LadderRules *rules,
				   Decision *decision)
{
	const FieldState state = {.record = *drop};
	const Change change = {.state = &state, .alias = ""};
	Record		before = *keep;

	if (!(rules->ladder & RUNG_VERSION))
		before.version = Max(keep->version, drop->version);
	before.row_version = Max(keep->row_version, drop->row_version);
	field_ladder_decide(&change, &before, rules, decision);
	/* it is another record to who knew one of the two, though it may look the same */
	if (decision->write != WRITE_WHOLE && !(rules->ladder & RUNG_VERSION))
		decision->after.version = Min(before.version + 1, CHANGE_MAX_VERSION);
	decision->after.row_version = before.row_version + 1;
}

/* ---------- edits of rows ---------- */

/* Is the edit made on the record as it stands? */
static bool
is_upon(const Change *change, const Record *record)
{
	return record->exists && change->has_base && change->base >= record->row_version;
}

/* What the source knew of the record: what it was delivered, and what it has said itself. */
static LifeStamp
stamp_known(const Change *change, const Record *record)
{
	LifeStamp	known = change->known;
	Life		life = record->exists ? record_life(record) : (Life) {0};
	bool		all = is_upon(change, record);

	for (int i = 0; i < record->nfields; i++)
	{
		LifeStamp	stamp = field_stamp_of(&record->fields[i]);

		if (all || strcmp(stamp.source, change->source) == 0)
			field_stamp_raise(&stamp, &known);
	}
	if (all)
		field_stamp_raise_by_life(&life, &known);
	if (life.lived.is_set && strcmp(life.lived.source, change->source) == 0)
		field_stamp_raise(&life.lived, &known);
	if (life.died.is_set && strcmp(life.died.source, change->source) == 0)
		field_stamp_raise(&life.died, &known);
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
	known = stamp_known(change, record);
	stamp = field_stamp_above(&known, &own);
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
