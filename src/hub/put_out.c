/*
 * put_out.c
 *	  Can a record be sent to a client?
 *
 * A record that fails when the server puts the rows out would fail the whole pull, and
 * the next one with the same batch.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "hub/put_out.h"
#include "model/json_size.h"

/* A record that can't have more than this isn't looked at character by character. */
#define LITTLE_BYTES	(16 * 1024)

/* Has the text a character that the client's encoding doesn't know? */
static bool
cannot_be_converted(const char *text, int len)
{
	int			client = pg_get_client_encoding();
	Oid			function;
	unsigned char converted[8192];

	if (client == GetDatabaseEncoding() || client == PG_SQL_ASCII ||
		GetDatabaseEncoding() == PG_SQL_ASCII)
		return false;
	function = FindDefaultConversionProc(GetDatabaseEncoding(), client);
	/* then the server says so itself, of every record */
	if (!OidIsValid(function))
		return false;
	while (len > 0)
	{
		/* a part that fits, up to the last whole character that is known */
		int			done = pg_do_encoding_conversion_buf(function, GetDatabaseEncoding(), client,
														 (unsigned char *) unconstify(char *, text),
														 len, converted, sizeof(converted), true);

		if (done == 0)
			return true;
		text += done;
		len -= done;
	}
	return false;
}

const char *
put_out_error(const char *entity, const char *external_id, Jsonb *fields, Size max, Size *bytes)
{
	StringInfoData text;
	bool		fails;

	*bytes = json_container_bytes(&fields->root, JSON_WORST);
	if (*bytes > LITTLE_BYTES)
		*bytes = json_container_bytes(&fields->root, JSON_ESCAPED);
	if (*bytes > max)
		return psprintf("its fields have %zu bytes as text, more than the %zu that can be sent",
						*bytes, max);
	if (pg_get_client_encoding() == GetDatabaseEncoding())
		return NULL;
	initStringInfo(&text);
	appendStringInfo(&text, "%s %s ", entity, external_id);
	(void) JsonbToCString(&text, &fields->root, VARSIZE(fields));
	fails = cannot_be_converted(text.data, text.len);
	pfree(text.data);
	return !fails ? NULL :
		psprintf("it has a character that has no equivalent in the client's encoding, %s",
				 pg_encoding_to_char(pg_get_client_encoding()));
}
