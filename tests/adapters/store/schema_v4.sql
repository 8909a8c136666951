CREATE TABLE answered (
	account TEXT NOT NULL, 
	message_id TEXT NOT NULL, 
	sent_at BIGINT NOT NULL, 
	answer TEXT NOT NULL, 
	PRIMARY KEY (account, message_id)
)
 WITHOUT ROWID

;
CREATE TABLE brake_count (
	brake TEXT NOT NULL, 
	run BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	count BIGINT NOT NULL, 
	PRIMARY KEY (brake, run, at)
);
CREATE TABLE counter (
	name TEXT NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE effect (
	id BIGINT NOT NULL, 
	run INTEGER NOT NULL, 
	account TEXT NOT NULL, 
	mailbox TEXT NOT NULL, 
	uidvalidity BIGINT NOT NULL, 
	uid BIGINT NOT NULL, 
	identity TEXT NOT NULL, 
	rule TEXT NOT NULL, 
	revision TEXT NOT NULL, 
	step INTEGER NOT NULL, 
	place INTEGER NOT NULL, 
	action TEXT NOT NULL, 
	target TEXT NOT NULL, 
	arguments JSON NOT NULL, 
	leaves BOOLEAN NOT NULL, 
	once BOOLEAN NOT NULL, 
	again INTEGER DEFAULT '0' NOT NULL, 
	rendered BOOLEAN NOT NULL, 
	on_unknown TEXT NOT NULL, 
	destination TEXT, 
	effect_key TEXT NOT NULL, 
	state TEXT NOT NULL, 
	epoch BIGINT DEFAULT '0' NOT NULL, 
	tries INTEGER DEFAULT '0' NOT NULL, 
	next_try BIGINT, 
	created_at BIGINT NOT NULL, 
	intent_at BIGINT, 
	commit_at BIGINT, 
	ended_at BIGINT, 
	changed_at BIGINT NOT NULL, 
	change BIGINT NOT NULL, 
	detail JSON NOT NULL, 
	undoes BIGINT, 
	undone BIGINT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(account, mailbox, uidvalidity, uid) REFERENCES message (account, mailbox, uidvalidity, uid), 
	FOREIGN KEY(run) REFERENCES run (id)
);
CREATE TABLE in_hand (
	account TEXT NOT NULL, 
	mailbox TEXT NOT NULL, 
	hand TEXT NOT NULL, 
	uidvalidity BIGINT NOT NULL, 
	uids TEXT NOT NULL, 
	PRIMARY KEY (account, mailbox, hand)
);
CREATE TABLE judged (
	account TEXT NOT NULL, 
	mailbox TEXT NOT NULL, 
	uidvalidity BIGINT NOT NULL, 
	low BIGINT NOT NULL, 
	high BIGINT NOT NULL, 
	PRIMARY KEY (account, mailbox, uidvalidity, low)
)
 WITHOUT ROWID

;
CREATE TABLE mailbox (
	account TEXT NOT NULL, 
	name TEXT NOT NULL, 
	uidvalidity BIGINT NOT NULL, 
	high_uid BIGINT NOT NULL, 
	highest_modseq BIGINT, 
	baseline_at BIGINT NOT NULL, 
	last_sweep BIGINT, 
	last_full_scan BIGINT, 
	lease_epoch BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (account, name)
);
CREATE TABLE message (
	account TEXT NOT NULL, 
	mailbox TEXT NOT NULL, 
	uidvalidity BIGINT NOT NULL, 
	uid BIGINT NOT NULL, 
	identity TEXT, 
	message_id TEXT, 
	subject TEXT, 
	sender TEXT, 
	internaldate BIGINT, 
	size BIGINT, 
	flags JSON, 
	state TEXT NOT NULL, 
	tries INTEGER DEFAULT '0' NOT NULL, 
	deaths INTEGER DEFAULT '0' NOT NULL, 
	next_try BIGINT, 
	error TEXT, 
	recorded_at BIGINT NOT NULL, 
	PRIMARY KEY (account, mailbox, uidvalidity, uid)
)
 WITHOUT ROWID

;
CREATE TABLE meta (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE pause (
	target TEXT NOT NULL, 
	since BIGINT NOT NULL, 
	reason TEXT NOT NULL, 
	new_only BOOLEAN DEFAULT '0' NOT NULL, 
	PRIMARY KEY (target)
);
CREATE TABLE resync (
	account TEXT NOT NULL, 
	mailbox TEXT NOT NULL, 
	since BIGINT NOT NULL, 
	PRIMARY KEY (account, mailbox)
);
CREATE TABLE rule_hits (
	rule TEXT NOT NULL, 
	account TEXT NOT NULL, 
	hits BIGINT NOT NULL, 
	last_at BIGINT NOT NULL, 
	PRIMARY KEY (rule, account)
);
CREATE TABLE rule_text (
	revision TEXT NOT NULL, 
	name TEXT NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (revision, name)
);
CREATE TABLE run (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	account TEXT NOT NULL, 
	mailbox TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	rules_hash TEXT NOT NULL, 
	started_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	judged BIGINT DEFAULT '0' NOT NULL, 
	matched BIGINT DEFAULT '0' NOT NULL, 
	detail JSON NOT NULL
);
CREATE TABLE scheduled (
	rule TEXT NOT NULL, 
	account TEXT NOT NULL, 
	mailbox TEXT NOT NULL, 
	schedule TEXT NOT NULL, 
	timezone TEXT NOT NULL, 
	since BIGINT NOT NULL, 
	begun_at BIGINT, 
	last_at BIGINT, 
	trouble TEXT NOT NULL, 
	PRIMARY KEY (rule, account, mailbox)
);
CREATE TABLE seen_mailbox (
	account TEXT NOT NULL, 
	name TEXT NOT NULL, 
	PRIMARY KEY (account, name)
);
CREATE TABLE sent (
	account TEXT NOT NULL, 
	mailbox TEXT NOT NULL, 
	uidvalidity BIGINT NOT NULL, 
	high_uid BIGINT NOT NULL, 
	PRIMARY KEY (account)
);
CREATE TABLE sighting (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	account TEXT NOT NULL, 
	message_id TEXT NOT NULL, 
	identity TEXT NOT NULL, 
	mailbox TEXT NOT NULL, 
	uid BIGINT NOT NULL, 
	seen_at BIGINT NOT NULL
);
CREATE TABLE unmatched (
	account TEXT NOT NULL, 
	mailbox TEXT NOT NULL, 
	fingerprint TEXT NOT NULL, 
	uidvalidity BIGINT NOT NULL, 
	uids TEXT NOT NULL, 
	kept_at BIGINT NOT NULL, 
	PRIMARY KEY (account, mailbox, fingerprint)
);
CREATE TABLE written_to (
	account TEXT NOT NULL, 
	address TEXT NOT NULL, 
	last_at BIGINT NOT NULL, 
	PRIMARY KEY (account, address)
)
 WITHOUT ROWID

;
CREATE INDEX effect_assign ON effect (rule, target, id) WHERE action = 'assign';
CREATE INDEX effect_change ON effect (change);
CREATE INDEX effect_changed ON effect (changed_at);
CREATE INDEX effect_identity ON effect (account, identity);
CREATE INDEX effect_message ON effect (account, mailbox, uidvalidity, uid);
CREATE UNIQUE INDEX effect_once ON effect (account, identity, rule, action, target, again) WHERE once AND state <> 'would';
CREATE INDEX effect_open ON effect (state, account, mailbox) WHERE state NOT IN ('done', 'would', 'skipped', 'gone');
CREATE INDEX effect_reply ON effect (account, rule, target, created_at) WHERE action = 'reply';
CREATE INDEX effect_run ON effect (run);
CREATE INDEX message_identity ON message (account, identity);
CREATE INDEX message_troubled ON message (state, account, mailbox) WHERE state <> 'judged';
CREATE UNIQUE INDEX sighting_message ON sighting (account, message_id, identity);
