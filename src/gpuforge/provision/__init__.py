"""Plan, create, wait, reconcile, tear down."""
