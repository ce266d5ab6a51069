%% OTP's supervisor under the same loads as ours.
-module(supervision).
-behaviour(supervisor).
-export([run/2, init/1, start_child/1, child/1]).

init({restart, Tell}) ->
    {ok, {#{strategy => one_for_one, intensity => 1000000, period => 1},
          [#{id => child, start => {?MODULE, start_child, [Tell]}}]}};
init({many, Children}) ->
    {ok, {#{strategy => one_for_one},
          [#{id => N, start => {?MODULE, start_child, [none]}} || N <- lists:seq(1, Children)]}};
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

run(Restarts, Actors) ->
    process_flag(trap_exit, true),
    {ok, Sup} = supervisor:start_link(?MODULE, {restart, self()}),
    First = receive {up, Pid} -> Pid end,
    {Times, _} = restarts(Restarts, First, []),
    Sorted = lists:sort(Times),
    At = fun(Share) -> lists:nth(max(1, round(length(Sorted) * Share)), Sorted) / 1000 end,
    io:format("~-34s ~-22s p50 ~8.1f us   p99 ~8.1f us   max ~9.1f us   n ~b~n",
              ["panic to restarted child's answer", "erlang", At(0.5), At(0.99), At(1.0), length(Sorted)]),
    stop(Sup),
    many("erlang, static", Actors, fun() -> supervisor:start_link(?MODULE, {many, Actors}) end),
    many("erlang, dynamic", Actors,
         fun() ->
             {ok, Pool} = supervisor:start_link(?MODULE, dynamic),
             [{ok, _} = supervisor:start_child(Pool, []) || _ <- lists:seq(1, Actors)],
             {ok, Pool}
         end).

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
