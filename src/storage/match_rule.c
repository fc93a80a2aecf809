/*
 * match_rule.c
 *	  A row of table syncext.match_rule.
 */
#include "postgres.h"

#include "storage/match_rule.h"
#include "storage/names.h"

const char *
match_rule_read(const ConfigRow *row, MatchRule *match)
{
	MemSet(match, 0, sizeof(MatchRule));
	match->name = config_text(row, COL_MATCH_RULE_NAME);
	field_names_of_array(row->values[COL_MATCH_RULE_FIELDS], &match->fields);
	match->normalize = config_text(row, COL_MATCH_RULE_NORMALIZE);
	match->links = strcmp(config_text(row, COL_MATCH_RULE_ACTION), "link") == 0;
	match->link_sources = (const char **) names_of_array(row->values[COL_MATCH_RULE_LINK_SOURCES], NULL, &match->nlink_sources);
	match->written_by = config_text(row, COL_MATCH_RULE_WRITTEN_BY);
	return config_text(row, COL_MATCH_RULE_ENTITY);
}
