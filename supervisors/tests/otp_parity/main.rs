//! OTP's own supervisor test suite (`supervisor_SUITE.erl` of OTP 27), case by case and under its names.
//!
//! `P` is a case taken over as it is; `A` one whose idea is kept although the mechanism differs here; `N` one about
//! Erlang's own tooling, with the reason. The table makes the tests: a case that is listed but not written does not compile.

#![expect(
    clippy::disallowed_methods,
    reason = "cases measure, and stand for callers outside of the tree"
)]
#![allow(clippy::unwrap_used, reason = "a test stops where its assumption fails")]

#[path = "../support/mod.rs"]
mod support;

mod api;
mod restart;
mod scale;
mod significant;
mod start;
mod stop;
mod upgrade;

macro_rules! suite {
    ($($port:ident $module:ident :: $name:ident $claim:literal)*) => {
        const SUITE: &[(char, &str, &str)] = &[$((suite!(@port $port), stringify!($name), $claim)),*];
        $(suite!(@test $port $module $name);)*
    };
    (@port P) => { 'P' };
    (@port A) => { 'A' };
    (@port N) => { 'N' };
    (@test N $module:ident $name:ident) => {};
    (@test $port:ident $module:ident $name:ident) => {
        #[tokio::test(start_paused = true)]
        async fn $name() {
            $module::$name().await;
        }
    };
}

suite! {
    P start::sup_start_normal "an empty supervisor starts, and ends with the shutdown it is asked for"
    A start::sup_start_ignore_init "a supervisor whose start has nothing to do is ignored by its parent"
    P start::sup_start_ignore_child "a permanent child that ignores keeps its spec without an actor"
    P start::sup_start_ignore_temporary_child "a temporary child that ignores is not kept, from the static list"
    P start::sup_start_ignore_temporary_child_start_child "nor when started by a request"
    P start::sup_start_ignore_temporary_child_start_child_simple "nor under a dynamic supervisor"
    P start::sup_start_ignore_permanent_child_start_child_simple "a dynamic permanent child that ignores is not kept"
    A start::sup_start_error_return "a spec that makes no sense is refused before anything starts"
    P start::sup_start_fail "a panic while starting is the start's error"
    P start::sup_start_child_returns_error "a failed start_child returns the error and stores nothing"
    P start::sup_start_restart_child_returns_error "a failed restart_child returns the error and keeps the spec"
    P start::sup_start_child_returns_error_simple "a failed dynamic start returns the error and stores nothing"
    P start::sup_start_map "defaults: permanent, 5 s for workers, no limit for supervisors; unknown ids are not found"
    A start::sup_start_map_simple "dynamic children share one spec that can be looked up by id"
    A start::sup_start_map_faulty_specs "faulty specs are refused by the supervisor's start"
    P stop::sup_stop_infinity "no limit is allowed for workers and supervisors"
    P stop::sup_stop_timeout "a child over its time is killed, its sibling stops"
    P stop::sup_stop_timeout_dynamic "the same under a dynamic supervisor"
    P stop::sup_stop_brutal_kill "a brutal child is killed, its sibling stops"
    P stop::sup_stop_brutal_kill_dynamic "ten dynamic brutal children are killed"
    P stop::sup_stop_race "children that end by themselves do not disturb a shutdown"
    P stop::sup_stop_non_shutdown_exit_dynamic "dynamic children that end oddly do not disturb a shutdown"
    P api::child_adm "the life of a child through every request, with every error and count"
    P api::child_adm_simple "which requests a dynamic supervisor takes"
    A api::extra_return "what a start tells besides the actor is passed on, and restarts still work"
    P api::child_specs "every invalid combination is refused, every valid one accepted, ids are unique"
    P api::child_specs_map "the matrix of significant, restart and auto-shutdown"
    P api::sup_flags "flags that make no sense are refused"
    P restart::multiple_restarts "restarts wider apart than the period never reach the limit"
    P restart::one_for_one "only the crashed child is replaced; the limit ends the supervisor"
    P restart::one_for_one_escalation "a restart that keeps failing takes supervisor and sibling down"
    P restart::one_for_all "the sibling is replaced too; the limit works"
    P restart::one_for_all_escalation "a sibling's failing restart escalates"
    P restart::one_for_all_other_child_fails_restart "if a sibling fails to restart, the others go down again and all is repeated"
    P restart::simple_one_for_one "only the crashed instance is replaced; the limit works"
    P stop::simple_one_for_one_shutdown "slow instances stop at the same time, and no longer than their time"
    A restart::simple_one_for_one_extra "instances whose start tells more restart normally"
    P restart::simple_one_for_one_escalation "an instance whose restart keeps failing takes all down"
    P restart::simple_one_for_one_corruption "after a temporary instance's death later ones' arguments are not kept either"
    P restart::simple_one_for_one_restart_ignore "an instance that ignores its restart is dropped"
    P restart::rest_for_one "later children stop and return, earlier ones stay; the limit works"
    P restart::rest_for_one_escalation "a later child's failing restart escalates"
    P restart::rest_for_one_other_child_fails_restart "a retry goes on at the child that failed"
    A api::external_start_no_progress_log "a start by request is not reported as a restart"
    P restart::permanent_normal "permanent: restarted after a normal end"
    P restart::transient_normal "transient: not restarted after a normal end, spec kept"
    P restart::temporary_normal "temporary: gone after a normal end"
    P restart::permanent_shutdown "permanent: restarted after a shutdown"
    P restart::transient_shutdown "transient: not restarted after a shutdown, by hand it can be"
    P restart::temporary_shutdown "temporary: gone after a shutdown"
    A start::faulty_application_shutdown "the cause of a nested start failure reaches the outermost starter"
    P restart::permanent_abnormal "permanent: restarted after an abnormal end"
    P restart::transient_abnormal "transient: restarted after an abnormal end"
    P restart::temporary_abnormal "temporary: gone after an abnormal end"
    A stop::child_unlink "a child that left its supervisor cannot hang its termination"
    P restart::tree "three levels: restarts stay local, escalation brings back static children only"
    P significant::nonsignificant_temporary "not significant: never shuts the supervisor down"
    P significant::nonsignificant_transient "not significant: the same for transient, restarts still happen"
    P significant::significant_temporary "significant temporary: any end but terminate_child counts"
    P significant::significant_transient "significant transient: an abnormal end restarts, a normal one counts"
    P significant::significant_simple "dynamic supervisors have no significant children"
    P significant::significant_bystander "an end by a group restart does not count"
    P significant::significant_escalation "a significant supervisor's own auto-shutdown counts for its parent"
    A upgrade::significant_upgrade_never_any "auto-shutdown can be switched on live"
    A upgrade::significant_upgrade_any_never "and off, which refuses new significant children"
    A upgrade::significant_upgrade_never_all "and on for the last one"
    A upgrade::significant_upgrade_all_never "and off again, running children unaffected"
    A upgrade::significant_upgrade_any_all "a change of mode alone shuts nothing down"
    A upgrade::significant_upgrade_all_any "the same in the other direction"
    A upgrade::significant_upgrade_child "a child's flag can be changed live, into legal combinations only"
    P api::count_children "counts and lists agree for thousands of instances"
    P api::count_children_supervisor "the same for instances that are supervisors"
    P api::count_restarting_children "those that wait for a restart are workers but not active"
    N api::get_callback_module "there is no callback module to ask for: a spec is a value"
    P api::do_not_save_start_parameters_for_temporary_children "temporary children's arguments are not kept"
    P api::do_not_save_child_specs_for_temporary_children "temporary children's specs are dropped however they end"
    P scale::simple_one_for_one_scale_many_temporary_children "terminating ten times as many costs about ten times as much"
    P restart::temporary_bystander "a temporary bystander of a group restart stays gone"
    P api::simple_global_supervisor "a named child is registered again after every kind of restart"
    P restart::hanging_restart_loop "requests are answered while restarts fail; terminate and shutdown work"
    P restart::hanging_restart_loop_rest_for_one "the same, later siblings down and earlier ones alive"
    P restart::hanging_restart_loop_simple "the same under a dynamic supervisor"
    A upgrade::code_change "flags and specs are replaced live, or nothing is"
    A upgrade::code_change_map "changed specs apply to the next start, missing ones are kept, new ones wait"
    A upgrade::code_change_simple "a dynamic supervisor takes a new template but no list"
    A upgrade::code_change_simple_map "the new template applies to the next start of every instance"
    P stop::order_of_children "starts in order; group restarts and shutdown in exact reverse"
    P scale::scale_start_stop_many_children "a hundred times as many cost about a hundred times as much"
    N api::format_log_1 "the layout of Erlang's legacy log texts; here reports are values"
    N api::format_log_2 "the layout of Erlang's log texts, their depth and truncation; here reports are values"
    P api::already_started_outside_supervisor "a name taken by a stranger is an error that names the holder"
}

#[test]
fn the_table_is_complete() {
    let count = |port| SUITE.iter().filter(|(is, ..)| *is == port).count();
    assert_eq!((SUITE.len(), count('P'), count('A'), count('N')), (91, 68, 20, 3));
    let mut names: Vec<_> = SUITE.iter().map(|(_, name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SUITE.len());
    assert!(SUITE.iter().all(|(_, _, claim)| !claim.is_empty()));
}
