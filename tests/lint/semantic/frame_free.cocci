// A frame that had an owner goes through frame_retire() (I7). Who frees one at once has just allocated it, or
// is an epoch callback, or says by its name that they are new: free_new().
@own@
expression F, I;
position p;
identifier alloc =~ "frame";
@@
  F = alloc(...)
  ... when any
(
  frame_free@p(F)
|
  frame_free@p(F + I)
)

@callback@
identifier f, node;
position p;
@@
  f(struct epoch_node *node, ...)
  {
  ... when any
  frame_free@p(...)
  ... when any
  }

@newly@
identifier f =~ "_new$";
position p;
@@
  f(...)
  {
  <+...
  frame_free@p(...)
  ...+>
  }

@@
position p != {own.p, callback.p, newly.p};
@@
* frame_free@p(...)
