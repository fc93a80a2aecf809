/*
 * referred_id.c
 *	  Which record a field refers to.
 */
#include "postgres.h"

#include "model/json_read.h"
#include "model/referred_id.h"

char *
referred_id(const JsonbValue *value)
{
	char	   *id = json_read_text(value);

	if (id == NULL || (id[0] != '\0' && strlen(id) <= CHANGE_MAX_EXTERNAL_ID))
		return id;
	/* 1e131071 is short in a document, of which a batch has thousands */
	pfree(id);
	return NULL;
}

char *
referred_id_of_change(const Change *change, const char *field, const char *parent)
{
	const JsonbValue *found = fields_value(&change->fields, field);
	char	   *id = found ? referred_id(found) : NULL;

	/* a record may refer to itself: it arrives with this very change */
	if (id != NULL && strcmp(parent, change->entity) == 0 && strcmp(id, change->external_id) == 0)
		return NULL;
	return id;
}
