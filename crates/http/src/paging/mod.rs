//! Long lists in pages: each page has a number of items, and the cursor of the next page.

mod keys;

use core::marker::PhantomData;

use serde::{Deserialize, Serialize};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};

use crate::limits::{DEFAULT_PAGE, MAX_PAGE};
use crate::problem::Problem;
use keys::Key;
pub(crate) use keys::{IdKey, PublisherKey};

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The `cursor` of the next page; absent on the last page. It stays valid while the list
    /// changes: an item that is there all the time is listed once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which part of a list a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, bound = "")]
pub(crate) struct Paging<K> {
    limit: Option<usize>,
    cursor: Option<String>,
    #[serde(skip)]
    key: PhantomData<K>,
}

impl<K: Key> IntoParams for Paging<K> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(MAX_PAGE))
            .default(Some(DEFAULT_PAGE.into()));
        let cursor = ObjectBuilder::new().schema_type(Type::String).pattern(Some(K::PATTERN));
        let parameter = |name, about, schema: ObjectBuilder| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .description(Some(about))
                .schema(Some(schema))
                .build()
        };
        vec![
            parameter("limit", "Items of a page.", limit),
            parameter("cursor", "`next` of the page before; the first page without.", cursor),
        ]
    }
}

impl<K: Key> Paging<K> {
    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(DEFAULT_PAGE) {
            limit @ 1..=MAX_PAGE => Ok(limit),
            other => Err(Problem::bad_request(format!(
                "`limit` is {other}: a page has 1 to {MAX_PAGE} items"
            ))),
        }
    }

    pub(crate) fn cursor(&self) -> Result<Option<K>, Problem> {
        let parse = |text: &String| {
            text.parse().map_err(|_| {
                Problem::bad_request(
                    "`cursor` is not what `next` of another page of this list said",
                )
            })
        };
        self.cursor.as_ref().map(parse).transpose()
    }

    /// The page of a list that ascends by a key.
    pub(crate) fn page<T>(
        &self,
        all: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> K,
    ) -> Result<Page<T>, Problem> {
        let (limit, after) = (self.limit()?, self.cursor()?);
        let is_later = |item: &T| after.as_ref().is_none_or(|after| key(item) > *after);
        let mut rest = all.into_iter().filter(is_later);
        let items: Vec<T> = rest.by_ref().take(limit).collect();
        let last = items.last().filter(|_| rest.next().is_some());
        Ok(Page { next: last.map(|last| key(last).to_string()), items })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paging(limit: usize, cursor: Option<&str>) -> Paging<u64> {
        Paging { limit: Some(limit), cursor: cursor.map(str::to_owned), key: PhantomData }
    }

    #[test]
    fn pages_together_have_every_item_once_while_the_list_changes() {
        let mut all: Vec<u64> = (0..10).collect();
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = paging(3, cursor.as_deref()).page(all.clone(), |n| *n).unwrap();
            seen.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
            // The last item of the page is removed from the list.
            all.retain(|n| Some(n) != seen.last());
        }
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn list_that_fits_one_page_has_no_next_page() {
        assert_eq!(paging(2, None).page([1, 2], |n| *n).unwrap().next, None);
        assert_eq!(paging(2, None).page([1, 2, 3], |n| *n).unwrap().next.as_deref(), Some("2"));
    }

    #[test]
    fn wrong_limits_and_cursors_are_refused() {
        for bad in [paging(0, None), paging(MAX_PAGE + 1, None), paging(1, Some("x"))] {
            assert_eq!(bad.page([1u64], |n| *n).unwrap_err().status, 400);
        }
    }
}
