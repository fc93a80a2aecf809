/*
 * match_rule.c
 *	  A row of table syncext.match_rule.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "storage/match_rule.h"
#include "storage/names.h"

static void
read_fields(Datum array, FieldNames *fields)
{
	int			n;
	char	  **names = names_of_array(array, NULL, &n);

	field_names_init(fields, n);
	for (int i = 0; i < n; i++)
		field_names_add(fields, field_name(names[i]));
}

const char *
match_rule_read(const ConfigScan *scan, MatchRule *match)
{
	MemSet(match, 0, sizeof(MatchRule));
	match->name = TextDatumGetCString(scan->values[COL_MATCH_RULE_NAME]);
	read_fields(scan->values[COL_MATCH_RULE_FIELDS], &match->fields);
	if (!scan->isnull[COL_MATCH_RULE_NORMALIZE])
		match->normalize = TextDatumGetCString(scan->values[COL_MATCH_RULE_NORMALIZE]);
	match->links = strcmp(TextDatumGetCString(scan->values[COL_MATCH_RULE_ACTION]), "link") == 0;
	match->link_sources = (const char **) names_of_array(scan->values[COL_MATCH_RULE_LINK_SOURCES], NULL, &match->nlink_sources);
	match->written_by = TextDatumGetCString(scan->values[COL_MATCH_RULE_WRITTEN_BY]);
	return TextDatumGetCString(scan->values[COL_MATCH_RULE_ENTITY]);
}
