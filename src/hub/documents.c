/*
 * documents.c
 *	  The change documents of a call: reading them, and their order.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "errcodes.h"
#include "hub/answer.h"
#include "hub/documents.h"
#include "hub/limits.h"
#include "hub/references.h"
#include "model/clip.h"
#include "process/stat.h"
#include "settings.h"
#include "storage/hints.h"
#include "storage/link.h"
#include "storage/rights.h"

/* ---------- reading ---------- */

static bool
check_size(Size bytes, ChangeError *error)
{
	if (bytes <= (Size) setting_max_document * 1024)
		return true;
	return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
						"Raise syncext.max_document, or send large values another way.",
						"the document has %zu bytes, more than %d kB", bytes, setting_max_document);
}

/* Nor does it come in here if a hub behind a link decides. */
static bool
check_links(Document *document)
{
	Change	   *change = &document->change;
	const Link *link = link_of_source(change->source);

	if (link != NULL)
		return change_error(&document->error, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							LINK_SOURCE_HINT(link),
							LINK_SOURCE_MESSAGE, change->source, link->name);
	link = link_of_entity(change->entity);
	if (link != NULL)
		return change_error(&document->error, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							LINK_ENTITY_HINT(link),
							LINK_ENTITY_MESSAGE, change->entity, link->name);
	return true;
}

/*
 * Raise if the user may not act as the source; then nothing is done of the whole
 * batch.  Comes before anything that tells of names, ladders or links.
 */
static void
check_right(Documents *docs, const Source *source, const char *name)
{
	if (source == NULL)
		registry_check_stranger(docs->registry, name);
	else if (source != docs->may_act_as)
		source_role_check(source);
	docs->may_act_as = source;
}

/* Names must be registered, and the document fit the entity's ladder. */
static bool
check_names(Documents *docs, Document *document)
{
	const Registry *registry = docs->registry;
	Change	   *change = &document->change;
	const Source *source = registry_source(registry, change->source);
	const Entity *entity = registry_entity(registry, change->entity);

	check_right(docs, source, change->source);
	if (source == NULL)
		return change_error(&document->error, ERRCODE_SYNC_UNKNOWN_NAME,
							call_text("Add it with SELECT sync_add_source(%s).",
									 quote_literal_cstr(clip_string(change->source, CLIP_QUOTE))),
							"key \"source\" names \"%s\", which is not a source",
							clip_string(change->source, CLIP_QUOTE));
	if (entity == NULL)
		return change_error(&document->error, ERRCODE_SYNC_UNKNOWN_NAME,
							call_text("Add it with SELECT sync_add_entity(%s).",
									 quote_literal_cstr(clip_string(change->entity, CLIP_QUOTE))),
							"key \"entity\" names \"%s\", which is not an entity",
							clip_string(change->entity, CLIP_QUOTE));
	if (change->state != NULL)
		source_relay_check(source);
	if (docs->only_source != NULL && strcmp(source->name, docs->only_source) != 0)
		return change_error(&document->error, ERRCODE_SYNC_BAD_DOCUMENT, NULL,
							"key \"source\" names \"%s\", but \"%s\" sends it", source->name,
							docs->only_source);
	if (change->recovered > 0 && change->recovered_epoch != *docs->lost_epoch)
		return change_error(&document->error, ERRCODE_SYNC_BAD_DOCUMENT, NULL,
							"key \"recoveredEpoch\" is " INT64_FORMAT ", but what is compared was known in epoch " INT64_FORMAT,
							change->recovered_epoch, *docs->lost_epoch);
	change->source = source->name;
	change->entity = entity->name;
	/* an edit of a row to which a spoke's link has delivered nothing yet */
	if (change->from_link && change->not_created && change->has_base)
		change->origin = ORIGIN_EDIT;
	document->depth = entity->depth;
	document->own_keys = docs->registry->any_keyed && own_keys_used(source, entity);
	return own_keys_check(source, change, &document->error) &&
		(link_list() == NIL || check_links(document)) &&
		ladder_check_change(entity->ladder, change, &document->error) &&
		references_check(entity, change, &document->error);
}

/* Names that are none would be counters without end. */
static void
count_refused(const Documents *docs, const Change *change)
{
	const Source *source = change->source == NULL ? NULL : registry_source(docs->registry, change->source);
	const Entity *entity = change->entity == NULL ? NULL : registry_entity(docs->registry, change->entity);

	if (source != NULL)
		stat_change(source->name, entity == NULL ? "" : entity->name, STAT_REFUSED, 0, 0);
}

static void
read_document(Documents *docs, JsonbContainer *container, Size bytes, Document *document)
{
	/* only a link sends what others have made, and says more of its edits */
	ChangeLimits limits = {
		.max_fields = setting_max_fields,
		.own = docs->only_source != NULL,
		.recovers = docs->lost_epoch != NULL
	};

	document->good = check_size(bytes, &document->error) &&
		limits_depth(container, bytes, &document->error) &&
		change_parse(container, &limits, &document->change, &document->error) &&
		check_names(docs, document);
	if (!document->good)
		count_refused(docs, &document->change);
	if (!document->good && !docs->batch)
		change_raise(&document->error);
}

/* An element of a batch that isn't an object has no container to parse. */
static void
read_element(Documents *docs, const JsonbValue *element)
{
	Document   *document = &docs->document[docs->n];

	document->element = *element;
	document->position = docs->n++;
	if (element->type == jbvBinary)
		read_document(docs, element->val.binary.data, element->val.binary.len, document);
	else
		document->good = change_not_object(&document->error);
}

/* Make room for n documents. */
static void
begin_batch(Documents *docs, int n)
{
	docs->batch = true;
	docs->document = palloc0(sizeof(Document) * Max(n, 1));
}

static void
read_batch(Documents *docs, JsonbContainer *array)
{
	JsonbIterator *it = JsonbIteratorInit(array);
	JsonbIteratorToken token;
	JsonbValue	v;
	int			n = JsonContainerSize(array);

	if (n > setting_max_batch)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the batch has %d documents, more than %d", n, setting_max_batch),
				 errhint("Raise syncext.max_batch, or send smaller batches.")));
	begin_batch(docs, n);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			read_element(docs, &v);
}

/* Part the documents that can be worked on from those that are answered already. */
static void
find_good(Documents *docs)
{
	docs->order = palloc(sizeof(Document *) * Max(docs->n, 1));
	for (int i = 0; i < docs->n; i++)
	{
		if (docs->document[i].good)
			docs->order[docs->ngood++] = &docs->document[i];
		else
			docs->document[i].answer = answer_refused(&docs->document[i].error);
	}
}

void
documents_read(Documents *docs, Jsonb *input)
{
	docs->registry = registry_get();
	if (JB_ROOT_IS_ARRAY(input) && !JB_ROOT_IS_SCALAR(input))
		read_batch(docs, &input->root);
	else
	{
		docs->n = 1;
		docs->document = palloc0(sizeof(Document));
		read_document(docs, &input->root, VARSIZE(input) - VARHDRSZ, docs->document);
	}
	find_good(docs);
}

Documents *
documents_read_again(const Documents *all, Document *const *some, int n)
{
	Documents  *docs = palloc0(sizeof(Documents));

	docs->registry = registry_get();
	docs->only_source = all->only_source;
	docs->lost_epoch = all->lost_epoch;
	docs->make_answer = all->make_answer;
	begin_batch(docs, n);
	for (int i = 0; i < n; i++)
		read_element(docs, &some[i]->element);
	find_good(docs);
	return docs;
}

/* ---------- their order ---------- */

/* Parents before children, then by key. */
static int
compare_records(const Document *a, const Document *b)
{
	int			cmp = a->depth - b->depth;

	if (cmp == 0)
		cmp = strcmp(a->change.entity, b->change.entity);
	return cmp != 0 ? cmp : strcmp(a->change.external_id, b->change.external_id);
}

/* Those of one record as they came. */
static int
compare_documents(const void *a, const void *b)
{
	const Document *da = *(Document *const *) a;
	const Document *db = *(Document *const *) b;
	int			cmp = compare_records(da, db);

	return cmp != 0 ? cmp : da->position - db->position;
}

void
documents_sort(Documents *docs)
{
	qsort(docs->order, docs->ngood, sizeof(Document *), compare_documents);
}

void
documents_sort_for_halves(Document **some, int n)
{
	Document  **sorted = palloc(sizeof(Document *) * n);
	int			front = 0;
	int			back = n;
	int			length;
	bool		goes;

	memcpy(sorted, some, sizeof(Document *) * n);
	qsort(sorted, n, sizeof(Document *), compare_documents);
	for (int first = 0; first < n; first += length)
	{
		length = 1;
		while (first + length < n && compare_records(sorted[first], sorted[first + length]) == 0)
			length++;
		goes = sorted[first + length - 1]->change.deleted;
		if (goes)
			back -= length;
		memcpy(&some[goes ? back : front], &sorted[first], sizeof(Document *) * length);
		if (!goes)
			front += length;
	}
	pfree(sorted);
}
