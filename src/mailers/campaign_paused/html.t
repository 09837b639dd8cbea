{% extends "layout.html.t" %}
{% block title %}A campaign is paused{% endblock %}
{% block body %}<h1 style="margin:0 0 16px;font-size:20px">Your campaign is paused</h1>
<p>The campaign <strong>{{ campaign }}</strong> was paused on {{ paused_at }}, because none of its mailboxes may send any more. Nobody is lost: every contact keeps its place, and nothing goes out until you resume it.</p>
<p>What to do next:</p>
<ol>
<li>See which mailboxes are disabled, and why:<br>
<code>GET {{ public_url }}/campaigns/{{ campaign_id }}/smtp_credentials</code></li>
<li>Enable one again, or add another:<br>
<code>POST {{ public_url }}/campaigns/{{ campaign_id }}/smtp_credentials/&lt;id&gt;/reenable</code><br>
<code>POST {{ public_url }}/campaigns/{{ campaign_id }}/smtp_credentials</code></li>
<li>Let the campaign go on:<br>
<code>POST {{ public_url }}/campaigns/{{ campaign_id }}/resume</code></li>
</ol>{% endblock %}
