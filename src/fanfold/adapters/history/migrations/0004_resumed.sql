-- How often a flow run was opened again, and under which epoch of its lease it is driven since when.

alter table flow_runs add column resumed integer not null default 0;
alter table flow_runs add column driver_epoch integer not null default 1;
alter table flow_runs add column driver_since_us bigint not null default 0;
