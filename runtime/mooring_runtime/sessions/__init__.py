"""Sessions: the state that a stateful model keeps between the steps of one client.

A session is known by its key, the model's name and the session's id. One replica has its copy on disk in phase `held`:
that replica is its owner and alone applies its steps, whatever any membership record says. A copy goes through these
phases, each written before anything is done under it:

    none --create--> held --freeze--> moving --taken--> moved --(settled record adopted)--> none
                       ^                |                 |
                       +----refused-----+                 |
                       +------------------a newer copy is taken, or created anew

What holds at any time:

1. Nothing is told to a client before it is on disk, but in `interval` mode, and there the reply says so.
2. What is in memory is what a commit has put on disk. When a commit fails, all that was computed for it is thrown away.
3. What is done to one session is done one at a time, in the order of arrival (`table`): steps, its end, its move.
4. A run that fails changes nothing, and its step's number stays free.
5. Who should have a session (`placement`) decides who may create it, and where it moves to; never who owns it.

Everything here happens on the event loop, but for the store's own threads.
"""
