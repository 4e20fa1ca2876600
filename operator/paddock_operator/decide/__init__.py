"""What follows from one look: pure decisions. In the order in which they are made, and what each of them rests on.

The way in is `desired.decide`. It has many ways out, one for each thing that does not hold; where all of it holds, it
goes through `_decide_live`, `_decide_licensed`, `_prepared` and `_run`, and then into `running.run`.

May it be, and how is it cut?
    accept          does the specification make sense, and whose is it
    license         may the tenant's entity be served with the model
    planned         how the model is cut: on `eligible` nodes, with what of the platform it `needs`
    quota           are there GPUs left for it

What is it to run?
    prepare         the revision that copies are to run, once there are: `weights` (what their Job left: `failures`),
                    `images`, and the compiled `engine` (`engine_size`), in a `maintenance` window where it is for us
    revisions       what a revision holds, pinned when it was rendered first; `marking` is what differs by copy
    former          what served last, while the license of what is asked for now does not hold

Which copies are there, and which may stay?
    copies          what is there of them; `answers`: which count as answering; `patients`: each as healing sees it
    seen            what was found of each of them in this round, by the next three:
    healing         who failed (`evidence`, `counted`), is `hung`, was refused by a node (`refusals`) or sits on lost
                    ground (`node_faults`, `bad_nodes`), and the record that is kept of that (`verdicts`)
    drains          may one that gets no new requests go (`draining`: by what gateways say)
    lingering       what was deleted and does not go, and pods that nobody will end
    moving          when those leave that still answer on a node with a broken GPU

How many, of which revision, with which share of the requests?
    scaling         how many copies, by what is asked of them (`scaling_advice`)
    rollout         which copies come, drain and go; `prospect` shows it what was seen, in its own terms
    routing         what gateways are told

What is told, and done?
    serving         do copies have nodes and answer; `causes` finds their nearest trouble, `coming` what each waits for
    routable        is it known that requests arrive
    progress        is a change coming about, or stuck; `patience` ends waiting that is no answer any more
    told            what the status remembers of copies and revisions
    workloads       the writes, in their order; `teardown` takes all of it away again
    actions         what a write can be; `outcome` is all of it together
"""
