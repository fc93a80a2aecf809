/*
 * match_link.h
 *	  The record that a new one of a source is, by a match rule.
 */
#ifndef SYNCEXT_MATCH_LINK_H
#define SYNCEXT_MATCH_LINK_H

#include "hub/apply_item.h"
#include "storage/canonical.h"
#include "storage/source_key.h"

/*
 * The external id of the one record that the change's fields meet, if the source may have
 * it linked by a rule, which *rule is then; NULL: none.
 */
extern const char *match_link(const ApplyItem *item, SourceKeys *keys, Canonical *records,
							  const MatchRule **rule);

#endif							/* SYNCEXT_MATCH_LINK_H */
