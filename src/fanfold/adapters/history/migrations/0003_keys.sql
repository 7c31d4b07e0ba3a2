-- What cache keys were made from; place -1 is what all elements share.

create table key_parts (
    flow_run_id {text} not null,
    subject {text} not null,
    place bigint not null,
    parts {text} not null,
    primary key (flow_run_id, subject, place)
);
