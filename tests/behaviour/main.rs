//! What betagate does, one module a behaviour, each named as a sentence. A behaviour that touches the database holds on every kind
//! of database there is (`support::databases`).

// A test that cannot set itself up has nothing better to do than panic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod a_cohort_goes_with_its_document;
mod a_command_line_that_is_elsewhere_asks_the_server;
mod a_controller_may_die_at_any_moment;
mod a_flag_says_why_and_a_plan_says_whom_it_moves;
mod a_history_says_what_would_have_happened;
mod a_job_answers_by_its_exit_code_or_with_a_number;
mod a_list_from_elsewhere_becomes_a_cohort;
mod a_list_is_checked_acknowledged_and_brought_in;
mod a_plan_is_rehearsed_and_nothing_is_changed;
mod a_program_runs_from_yaml_to_an_ordered_rollback_and_back;
mod a_pull_request_shows_what_it_would_do;
mod a_rollback_is_carried_on_by_the_next_controller;
mod addresses_need_not_lie_in_git;
mod alerting_systems_open_and_close_incidents;
mod an_invite_leaves_at_most_once;
mod bad_documents_are_named_all_at_once;
mod each_step_survives_its_controller;
mod each_test_has_a_database_of_its_own;
mod flags_of_another_server_are_taken_over;
mod invites_are_looked_after_by_hand;
mod mail_leaves_encrypted_and_signed_in;
mod mail_that_comes_back_or_is_not_wanted_is_not_sent_again;
mod messages_are_tried_before_they_are_sent;
mod the_api_lets_in_only_who_may;
mod the_command_line_never_says_yes_to_nothing;
mod the_custom_resource_definitions_are_what_the_types_say;
mod the_database_may_go_away_and_come_back;
mod the_doors_tell_nobody_who_is_invited;
mod the_evidence_of_a_rollback_is_checked_on_another_machine;
mod the_funnel_tells_how_far_people_got;
mod the_repositorys_own_lists_and_messages_are_ready_to_send;
mod the_repositorys_own_programs_are_what_their_plans_say;
mod the_sign_up_page_speaks_the_testers_language;
mod the_way_back_of_a_sev_1_takes_48_stable_hours;
mod the_weeks_of_seed_002_are_replayed;
mod up_is_one_tree_of_processes;
