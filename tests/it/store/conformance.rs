//! The one list of conformance cases. Each runs on every store: there is no way to name a store here.

use super::{backend::Backend, cases};

/// Makes a test of each case for each store.
macro_rules! on_every_store {
    ($($module:ident { $($case:ident)* })*) => {
        on_every_store!(@store embedded Embedded $($module { $($case)* })*);
        on_every_store!(@store in_memory InMemory $($module { $($case)* })*);
        on_every_store!(@store redis Redis $($module { $($case)* })*);

        /// The stores that the list above covers.
        const COVERED: &[Backend] = &[Backend::Embedded, Backend::InMemory, Backend::Redis];
    };
    (@store $name:ident $backend:ident $($module:ident { $($case:ident)* })*) => {
        mod $name {
            $(mod $module {
                $(#[tokio::test]
                async fn $case() {
                    let opened = crate::store::backend::Backend::$backend.open().await;
                    crate::store::cases::$module::$case(opened.store.as_ref()).await;
                })*
            })*
        }
    };
}

on_every_store! {
    windows {
        every_window_counts_and_forgets_in_its_own_time
        tokens_and_requests_are_limited
        a_charge_is_taken_by_all_windows_or_none
        the_promised_moment_of_retry_is_true
        the_limit_that_takes_longest_is_named
        what_never_fits_has_no_moment_of_retry
        a_subject_over_its_limit_is_refused_even_nothing
        resets_are_when_the_oldest_usage_leaves
        time_never_runs_backwards
        charges_of_one_call_take_effect_in_order
        a_peek_changes_nothing
        a_report_is_charged_whatever_the_limits_and_says_whether_it_fitted
        an_unknown_subject_is_only_created_when_it_may_be
        a_refused_charge_makes_nobody_known
        inspection_changes_nothing
        many_buckets_are_counted_and_left
    }
    counters {
        a_block_begins_with_what_does_not_fit_and_is_not_extended
        all_counters_and_windows_are_charged_or_none
        the_counter_that_keeps_out_longest_is_named_with_a_true_moment
        counters_agree_with_an_exact_oracle_over_random_spans
        a_counter_is_shared_by_all_that_charge_it
        what_an_instance_owes_is_counted_once_however_often_it_is_sent
        a_budget_admits_exactly_what_it_holds_however_many_ask
        a_counter_that_is_changed_twice_in_one_call_has_both_changes
        a_reservation_is_settled_once_with_the_charge
        an_estimate_that_is_kept_counts_as_used
        a_reservation_ends_by_itself
        a_reservation_is_settled_by_its_own_key_also_when_that_is_banned
        a_charge_that_is_sent_again_finds_its_own_claim
        a_claimed_request_is_charged_once
        a_report_that_is_told_late_counts_at_its_own_time
        what_is_settled_late_counts_at_its_own_time
        what_asks_behind_a_report_is_decided_behind_it
        a_peek_says_what_a_charge_would_and_changes_nothing
        a_subject_that_is_kept_out_still_charges_what_it_shares
    }
    reservations {
        a_dispatched_estimate_is_charged_at_its_end_and_corrected_once
        a_correction_keeps_the_estimate_where_the_record_does_not_know_better
        a_charge_that_is_corrected_before_usage_knows_of_it_is_counted_by_its_record_alone
        a_charge_is_corrected_by_a_record_that_names_its_request_alone
        a_charge_is_no_longer_corrected_after_a_day
        an_extended_reservation_ends_at_its_new_end_and_holds_until_then
        a_dispatched_estimate_never_lapses_in_a_counter_before_it_is_ended
        a_reservation_that_is_given_back_holds_nothing_and_has_no_end
        what_has_ended_is_not_changed_any_more
        what_was_seen_on_its_way_is_completed_once_and_then_forgotten
        what_counts_for_nobody_completes_what_was_seen_and_settles_nothing_else
        many_that_were_seen_on_their_way_are_forgotten_at_once
        a_record_is_told_for_an_hour_that_its_reservation_lapsed
        who_gives_back_and_who_ends_at_once_do_so_once
    }
    sinks {
        one_leads_a_sink_until_its_time_is_up_or_it_leaves
        how_a_sink_is_doing_is_known_to_all_and_said_by_the_leader_alone
        a_step_is_taken_by_the_leader_alone_and_all_at_once
        dead_letters_are_listed_sent_again_and_given_up
        too_many_dead_letters_stop_the_sink
        a_follower_may_stop_behind_any_event
    }
    peers {
        the_most_recent_is_first_and_the_ring_is_bounded
        peers_are_shown_as_they_were_before
        only_a_charge_that_fits_touches_a_peer
        a_ring_shrinks_to_a_smaller_capacity
        those_that_say_little_leave_first
    }
    refunds {
        a_charge_is_taken_back_from_the_open_bucket
        a_charge_is_taken_back_from_a_closed_bucket
        what_has_left_cannot_be_taken_back
        a_peer_seen_once_is_forgotten_and_others_lose_a_hit
        taking_back_from_an_unknown_subject_makes_nobody_known
    }
    standings {
        a_standing_is_kept_with_its_detail
        a_change_from_an_old_version_is_a_conflict
        a_conflict_writes_nothing
        a_throttled_subject_has_a_share_of_its_limits
        a_banned_subject_is_refused_in_every_mode_and_its_reports_are_counted
        a_standing_that_was_only_observed_counts_for_those_who_observe_alone
        the_end_of_a_ban_that_was_only_observed_says_so
        a_ban_ends_on_time
        a_standing_makes_a_subject_known
        those_in_force_are_listed_newest_first
        a_ban_that_ran_out_is_noted_exactly_once
        a_throttle_runs_out_in_silence
        a_prolonged_ban_ends_at_its_new_end
        a_lifted_or_permanent_ban_never_runs_out
        ban_events_and_refunds_come_together
        a_forgotten_subject_is_unknown
    }
    events {
        an_event_is_kept_whole_and_found_by_its_id
        what_is_no_id_finds_nothing
        newest_come_first_page_by_page
        filters_hold_together
        garbage_is_no_cursor
        the_log_is_followed_without_a_gap
        following_starts_after_a_known_event
        an_id_of_another_log_is_refused
        a_subjects_events_stay_in_order
    }
    keeping {
        profile_deltas_add_up
        subjects_are_listed_by_when_they_were_last_seen
        documents_have_a_revision_that_moves
        a_document_is_written_at_a_revision_only_while_it_is_the_last
        deleting_what_is_not_there_writes_nothing
        what_changed_since_a_revision_is_told_and_nothing_else
        changes_that_are_long_past_or_never_were_are_not_told
        work_is_claimed_once
        a_claim_ends_after_two_minutes
        a_pepper_is_recognised
        it_answers_and_closes
    }
    usage {
        usage_adds_up_in_every_bucket
        a_batch_that_is_sent_again_counts_once
        a_batch_of_nothing_is_taken
        usage_is_kept_as_long_as_was_promised
        sums_are_exact_and_stop_at_the_largest_number
        usage_of_one_project_model_or_key_is_found
        latencies_merge_exactly_and_a_batch_that_is_sent_again_adds_none
        usage_by_endpoint_and_user_sums_to_the_same
        days_and_months_of_a_zone_are_made_of_what_was_used_in_them
    }
}

#[test]
fn no_store_is_left_out() {
    assert_eq!(COVERED, Backend::ALL);
}

#[test]
fn no_case_is_left_out() {
    let listed = include_str!("conformance.rs");
    for (file, source) in cases::SOURCES {
        for line in source.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
            let name = line.split('(').next().unwrap();
            let named = listed.lines().any(|listed| listed.trim() == name);
            assert!(named, "{file}: {name} is not in the list of tests/it/store/conformance.rs");
        }
    }
}
