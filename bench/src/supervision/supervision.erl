%% OTP's supervisor under the same loads as ours.
-module(supervision).
-behaviour(supervisor).
-export([run/3, init/1, start_child/1, child/1]).

init({restart, Tell}) ->
    {ok, {#{strategy => one_for_one, intensity => 1000000, period => 1},
          [#{id => child, start => {?MODULE, start_child, [Tell]}}]}};
init({many, Children}) ->
    {ok, {#{strategy => one_for_one},
          [#{id => N, start => {?MODULE, start_child, [none]}} || N <- lists:seq(1, Children)]}};
init({storm, Tell, Children}) ->
    {ok, {#{strategy => one_for_one, intensity => 1000000, period => 1},
          [#{id => calm, start => {?MODULE, start_child, [none]}} |
           [#{id => N, start => {?MODULE, start_child, [Tell]}} || N <- lists:seq(1, Children)]]}};
init(dynamic) ->
    {ok, {#{strategy => simple_one_for_one}, [#{id => child, start => {?MODULE, start_child, [none]}}]}}.

start_child(Tell) ->
    proc_lib:start_link(?MODULE, child, [Tell]).

child(Tell) ->
    proc_lib:init_ack({ok, self()}),
    if is_pid(Tell) -> Tell ! {up, self()}; true -> ok end,
    loop(0).

loop(Served) ->
    receive
        panic -> error(asked_to);
        {ping, From} -> From ! {answer, Served + 1}, loop(Served + 1)
    end.

run(Restarts, Actors, Storm) ->
    process_flag(trap_exit, true),
    %% OTP walks the list of all restarts of the period at each one: a new supervisor for every hundred keeps that list as
    %% short as it is where nobody measures.
    print("panic to restarted child's answer", lists:append([hundred() || _ <- lists:seq(1, Restarts div 100)])),
    many("erlang, static", Actors, fun() -> supervisor:start_link(?MODULE, {many, Actors}) end),
    many("erlang, dynamic", Actors,
         fun() ->
             {ok, Pool} = supervisor:start_link(?MODULE, dynamic),
             [{ok, _} = supervisor:start_child(Pool, []) || _ <- lists:seq(1, Actors)],
             {ok, Pool}
         end),
    {Calls, Whole} = lists:unzip([storm(Storm) || _ <- lists:seq(1, 50)]),
    print("sibling's call, due every ms", lists:append(Calls)),
    print("  storm until all are back", Whole).

print(What, Times) ->
    Sorted = lists:sort(Times),
    At = fun(Share) -> lists:nth(max(1, round(length(Sorted) * Share)), Sorted) / 1000 end,
    io:format("~-34s ~-22s p50 ~8.1f us   p99 ~8.1f us   max ~9.1f us   n ~b~n",
              [What, "erlang", At(0.5), At(0.99), At(1.0), length(Sorted)]).

%% Many children panic at once; how long do calls to their sibling take meanwhile, from the time each was due?
storm(Children) ->
    {ok, Sup} = supervisor:start_link(?MODULE, {storm, self(), Children}),
    Pids = ups(Children, []),
    {calm, Calm, _, _} = lists:keyfind(calm, 1, supervisor:which_children(Sup)),
    Me = self(),
    Caller = spawn_link(fun() -> calls(Me, Calm, erlang:monotonic_time(millisecond) + 1, []) end),
    Before = erlang:monotonic_time(nanosecond),
    [Pid ! panic || Pid <- Pids],
    ups(Children, []),
    Whole = erlang:monotonic_time(nanosecond) - Before,
    Caller ! done,
    Calls = receive {calls, Times} -> Times end,
    receive {'EXIT', Caller, _} -> ok end,
    stop(Sup),
    {Calls, Whole}.

ups(0, Pids) -> Pids;
ups(N, Pids) -> receive {up, Pid} -> ups(N - 1, [Pid | Pids]) end.

calls(Me, Calm, Due, Times) ->
    erlang:send_after(Due, self(), due, [{abs, true}]),
    receive due -> ok end,
    Calm ! {ping, self()},
    receive {answer, _} -> ok end,
    Seen = [erlang:monotonic_time(nanosecond) - erlang:convert_time_unit(Due, millisecond, nanosecond) | Times],
    receive done -> Me ! {calls, Seen}
    after 0 -> calls(Me, Calm, Due + 1, Seen)
    end.

hundred() ->
    {ok, Sup} = supervisor:start_link(?MODULE, {restart, self()}),
    First = receive {up, Pid} -> Pid end,
    {Times, _} = restarts(100, First, []),
    stop(Sup),
    Times.

restarts(0, Pid, Times) -> {Times, Pid};
restarts(N, Pid, Times) ->
    Before = erlang:monotonic_time(nanosecond),
    Pid ! panic,
    Next = receive {up, New} -> New end,
    Next ! {ping, self()},
    receive {answer, _} -> ok end,
    restarts(N - 1, Next, [erlang:monotonic_time(nanosecond) - Before | Times]).

many(Who, Actors, Start) ->
    erlang:garbage_collect(),
    Bytes = erlang:memory(total),
    Before = erlang:monotonic_time(microsecond),
    {ok, Sup} = Start(),
    Started = erlang:monotonic_time(microsecond),
    Each = (erlang:memory(total) - Bytes) div Actors,
    Again = erlang:monotonic_time(microsecond),
    stop(Sup),
    Stopped = erlang:monotonic_time(microsecond),
    io:format("~-34s ~-22s start ~6b ms (~5.2f us each)   ~6b B each   stop ~6b ms (~5.2f us each)~n",
              [integer_to_list(Actors) ++ " actors", Who, (Started - Before) div 1000, (Started - Before) / Actors,
               Each, (Stopped - Again) div 1000, (Stopped - Again) / Actors]).

stop(Sup) ->
    exit(Sup, shutdown),
    receive {'EXIT', Sup, _} -> ok end.
