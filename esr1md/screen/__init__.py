"""A screen: planned, run in processes that may die, resumed, finished."""
